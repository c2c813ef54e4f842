package proxyos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

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
		},
	})
}

// errFailed ends a command with exit code 1 if its output has already said why.
var errFailed = errors.New("failed")

// runQuietly keeps cobra from printing errFailed.
func runQuietly(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		cmd.SilenceErrors = errors.Is(err, errFailed)
		return err
	}
}

// printJSON prints a value for scripts.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// lineWidth is the width at which output is wrapped.
const lineWidth = 80

// wrapped returns text in lines of at most lineWidth columns. The first line begins with
// first, the others with as many spaces. It never breaks a word.
func wrapped(first, text string) string {
	var b strings.Builder
	b.WriteString(first)
	indent := len([]rune(first))
	column := indent
	for i, word := range strings.Fields(text) {
		width := len([]rune(word))
		switch {
		case i == 0:
		case column+1+width > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
	}
	return b.String()
}

// table prints rows in columns as wide as their widest cells. The last column is wrapped.
func table(w io.Writer, indent string, rows [][]string) {
	var aligned bytes.Buffer
	columns := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(columns, indent+strings.Join(row, "\t"))
	}
	columns.Flush()
	for i, line := range slices.Collect(strings.Lines(aligned.String())) {
		last := rows[i][len(rows[i])-1]
		first := strings.TrimSuffix(line, last+"\n")
		fmt.Fprintln(w, strings.TrimRight(wrapped(first, last), " "))
	}
}
