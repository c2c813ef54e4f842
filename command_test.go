package proxyos

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func TestHelpsFitInto80Columns(t *testing.T) {
	registered := caddycmd.Commands()["proxyos"]
	root := &cobra.Command{Use: "caddy"}
	own := &cobra.Command{Use: "proxyos", Long: registered.Long}
	registered.CobraFunc(own)
	root.AddCommand(own)
	helps := 0
	var fits func(*cobra.Command)
	fits = func(command *cobra.Command) {
		var help bytes.Buffer
		command.SetOut(&help)
		if err := command.Help(); err != nil {
			t.Fatal(err)
		}
		helps++
		path := command.CommandPath()
		if !command.HasSubCommands() && !strings.Contains(help.String(), "Examples:\n  "+path) {
			t.Errorf("the help of %s has no example:\n%s", path, help.String())
		}
		for line := range strings.Lines(help.String()) {
			if width := len([]rune(strings.TrimSuffix(line, "\n"))); width > 80 {
				t.Errorf("the help of %s has a line of %d columns: %s", path, width, line)
			}
		}
		for _, inner := range command.Commands() {
			fits(inner)
		}
	}
	fits(own)
	if helps < 20 {
		t.Errorf("there are %d helps only", helps)
	}
}
