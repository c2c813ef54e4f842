package proxyos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

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
		CobraFunc: addCommands,
	})
}

// addCommands adds all commands to that of the module.
func addCommands(cmd *cobra.Command) {
	cmd.AddCommand(explainCommand(), probeCommand(), versionCommand())
	cmd.AddCommand(steerCommands()...)
	cmd.AddCommand(upstreamCommands()...)
	cmd.AddCommand(releaseCommand(), dashboardCommand())
	cmd.SetFlagErrorFunc(wrongFlag)
	// cobra would print the help for a name that it does not know, and exit with 0
	cmd.DisableFlagParsing = true
	cmd.RunE = unknownCommand
}

// printJSON prints a value for scripts. What a terminal might obey is escaped, as JSON can.
func printJSON(w io.Writer, value any) error { return printJSONWith(w, value, "  ") }

// printJSONLine is printJSON in one line.
func printJSONLine(w io.Writer, value any) error { return printJSONWith(w, value, "") }

func printJSONWith(w io.Writer, value any, indent string) error {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetIndent("", indent)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	var safe strings.Builder
	for _, r := range encoded.String() { // the encoder has escaped what is below a space
		if r == '\n' || unicode.IsPrint(r) {
			safe.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&safe, `\u%04x`, unit)
		}
	}
	_, err := io.WriteString(w, safe.String())
	return err
}
