package proxyos

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "proxyos",
		Usage: "<command>",
		Short: "Watches and steers proxyos routes, and explains and probes upstreams",
		Long: `
Shows the routes of a running Caddy, and changes how much of their traffic goes
to staging. Explains how upstream addresses are understood. Finds out why an
upstream does not answer.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(explainCommand(), probeCommand())
			cmd.AddCommand(steerCommands()...)
			cmd.SetFlagErrorFunc(wrongFlag)
			// cobra would print the help for a name that it does not know, and exit with 0
			cmd.DisableFlagParsing = true
			cmd.RunE = unknownCommand
		},
	})
}

// printJSON prints a value for scripts.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
