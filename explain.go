package proxyos

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// explanation says how an address is understood, or what is wrong with it.
type explanation struct {
	Address   string   `json:"address"`
	Scheme    string   `json:"scheme,omitempty"`
	Dial      string   `json:"dial,omitempty"`
	TLSVerify *bool    `json:"tls_verify,omitempty"` // only for https
	Reason    string   `json:"reason,omitempty"`
	Warnings  []string `json:"warnings,omitempty"` // only of an address that is explained by itself
	Error     string   `json:"error,omitempty"`
}

// explain explains an address, and a port range with one explanation for each port.
func explain(text string, route routeOptions) []explanation {
	backends, err := resolve([]Upstream{{Address: text}}, nil, route)
	if err != nil {
		return []explanation{{Address: text, Error: err.Error()}}
	}
	all := make([]explanation, 0, len(backends))
	for _, b := range backends {
		e := b.explain()
		e.Warnings = b.lint(route)
		if len(backends) > manyPorts && len(all) == 0 {
			e.Warnings = append(e.Warnings, lintRange(text, len(backends)))
		}
		if len(backends) == 1 {
			e.Address = text
		}
		all = append(all, e)
	}
	return all
}

// explain says what the backend speaks, and why.
func (b backend) explain() explanation {
	e := explanation{Address: b.address.String(), Scheme: b.scheme, Dial: b.dial, Reason: b.sentence()}
	if b.scheme == address.HTTPS {
		e.TLSVerify = &b.verify
	}
	return e
}

// sentence says what an upstream speaks, and why.
func (m meaning) sentence() string {
	switch m.scheme {
	case address.HTTP:
		return fmt.Sprintf("HTTP, since %s.", m.schemeReason)
	case address.H2C:
		return fmt.Sprintf("HTTP/2 cleartext, since %s.", m.schemeReason)
	}
	checked := "checked"
	if !m.verify {
		checked = "not checked"
	}
	if m.schemeReason == m.verifyReason {
		return fmt.Sprintf("HTTPS, and the certificate is %s, since %s.", checked, m.schemeReason)
	}
	return fmt.Sprintf("HTTPS, since %s; the certificate is %s, since %s.", m.schemeReason, checked, m.verifyReason)
}

func explainCommand() *cobra.Command {
	var asJSON bool
	var config, adapter string
	cmd := &cobra.Command{
		Use:   "explain <address>... | --config <path>",
		Short: "Says how addresses are understood, without touching the network",
		Long: `
Says how proxyos understands each address: HTTP or HTTPS, what it dials, whether
the certificate is checked, and which rule decides. Warns of what is often a
mistake. Each warning says what to write, and that ends it.

With --config, explains every proxyos route of a config instead. Placeholders
are left as they are.

Exits with 1 if an address, or a route, has an error.`,
		Example: "  caddy proxyos explain pve:8006 https://app:3000 db:8440-8445\n" +
			"  caddy proxyos explain --config /etc/caddy/Caddyfile",
		RunE: runs(func(cmd *cobra.Command, args []string) (int, error) {
			switch {
			case config != "" && len(args) > 0:
				return exitUsage, usageErrorf("explain takes addresses or --config, not both")
			case config != "":
				return exitFailed, explainConfig(cmd.OutOrStdout(), config, adapter, asJSON)
			case len(args) == 0:
				return exitUsage, usageErrorf("explain takes addresses, such as pve:8006, or --config <path>")
			}
			return exitFailed, explainAddresses(cmd.OutOrStdout(), args, asJSON)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.Flags().StringVarP(&config, "config", "c", "", "Explain the routes of this file")
	cmd.Flags().StringVarP(&adapter, "adapter", "a", "", "The adapter of that file")
	return cmd
}

// explainAddresses is `explain` for addresses.
func explainAddresses(w io.Writer, addresses []string, asJSON bool) error {
	var all []explanation
	for _, text := range addresses {
		all = append(all, explain(text, defaultOptions())...)
	}
	if asJSON {
		if err := printJSON(w, all); err != nil {
			return err
		}
	} else {
		for _, e := range all {
			e.print(w)
		}
	}
	if slices.ContainsFunc(all, func(e explanation) bool { return e.Error != "" }) {
		return errFailed
	}
	return nil
}

// print prints the explanation for people.
func (e explanation) print(w io.Writer) {
	if e.Error != "" {
		reason := strings.TrimPrefix(e.Error, fmt.Sprintf("upstream %q: ", e.Address))
		fmt.Fprintf(w, "%s\n%s\n", printable.Escape(e.Address), wrapped("  error: ", reason))
		return
	}
	fmt.Fprintf(w, "%s\n%s\n  dials %s\n", printable.Escape(e.Address), wrapped("  ", e.Reason), printable.Escape(e.Dial))
	for _, warning := range e.Warnings {
		fmt.Fprintln(w, wrapped("  warning: ", strings.TrimPrefix(warning, e.Address+": ")))
	}
}
