package proxyos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// probeReport is what `caddy proxyos probe --json` prints for an address.
type probeReport struct {
	explanation
	Steps       []step             `json:"steps,omitempty"`
	Certificate *certs.Description `json:"certificate,omitempty"`
	Works       bool               `json:"works"`
	Cause       diagnose.Cause     `json:"cause,omitempty"`
	Verdict     string             `json:"verdict,omitempty"`
	Caddyfile   string             `json:"caddyfile,omitempty"`
}

func probeCommand() *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "probe <address>...",
		Short: "Finds out why an upstream does not answer, and what to write",
		Long: `
Looks at each address the way Caddy would: resolves and connects, makes a TLS
handshake with the certificate checked and unchecked, and sends one GET request
for / by HTTPS and by plain HTTP. Ends with a verdict and the lines for the
Caddyfile.

Exits with 0 only if every address would work as it is written.`,
		Example: "  caddy proxyos probe pve:8006\n  caddy proxyos probe --json --timeout 2s https://app:3000",
		RunE: runQuietly(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("probe takes addresses, such as pve:8006")
			}
			if timeout <= 0 {
				return fmt.Errorf("--timeout %v: write a time longer than 0, such as 5s", timeout)
			}
			return probeAddresses(cmd.Context(), cmd.OutOrStdout(), args, timeout, asJSON)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "How long looking at one address may take")
	return cmd
}

// probeAddresses is `probe`.
func probeAddresses(ctx context.Context, w io.Writer, addresses []string, timeout time.Duration, asJSON bool) error {
	if ctx == nil {
		ctx = context.Background()
	}
	text := w
	if asJSON {
		text = io.Discard
	}
	reports, allWork := []probeReport{}, true
	for _, written := range addresses {
		backends, err := resolve([]Upstream{{Address: written}}, nil, defaultOptions())
		if err != nil {
			explain(written, defaultOptions())[0].print(text)
			reports = append(reports, probeReport{explanation: explain(written, defaultOptions())[0]})
			allWork = false
		}
		for _, b := range backends {
			if len(reports) > 0 {
				fmt.Fprintln(text)
			}
			r := (&prober{backend: b, timeout: timeout}).report(ctx, text)
			reports = append(reports, r)
			allWork = allWork && r.Works
		}
	}
	if asJSON {
		if err := printJSON(w, reports); err != nil {
			return err
		}
	}
	if !allWork {
		return errFailed
	}
	return nil
}

// report probes, and prints each step as it ends and the verdict.
func (p *prober) report(ctx context.Context, w io.Writer) probeReport {
	r := probeReport{explanation: p.backend.explain()}
	r.print(w)
	fmt.Fprintln(w)
	p.show = func(s step) {
		r.Steps = append(r.Steps, s)
		s.print(w)
	}
	found := p.run(ctx)
	v := found.judge()
	r.Certificate, r.Works, r.Cause, r.Verdict, r.Caddyfile = found.cert, v.works, v.cause, v.text, v.lines
	fmt.Fprintf(w, "\n%s\n", wrapped("  ", v.text))
	if v.lines != "" {
		fmt.Fprintf(w, "\n      %s\n", strings.ReplaceAll(strings.ReplaceAll(v.lines, "\t", "    "), "\n", "\n      "))
	}
	return r
}

// print prints the step for people.
func (s step) print(w io.Writer) {
	result := "no"
	if s.OK {
		result = "ok"
	}
	fmt.Fprintln(w, wrapped(fmt.Sprintf("  %-14s %s  ", s.Name, result), fmt.Sprintf("%s (%dms)", s.Detail, s.Milliseconds)))
	if s.certificate != nil {
		printCertificate(w, *s.certificate)
	}
}

// printCertificate prints a certificate for people.
func printCertificate(w io.Writer, c certs.Description) {
	issuer := c.Issuer
	if c.SelfSigned {
		issuer = "itself"
	}
	line := func(name, text string) { fmt.Fprintln(w, wrapped(fmt.Sprintf("    %-9s ", name), text)) }
	line("subject", cmp.Or(c.Subject, "none"))
	line("names", cmp.Or(strings.Join(c.Names, ", "), "none"))
	line("signed by", issuer)
	line("valid", c.NotBefore.UTC().Format(time.DateTime)+" to "+c.NotAfter.UTC().Format(time.DateTime)+" UTC")
	line("sha256", c.SHA256)
}
