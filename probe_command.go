package proxyos

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/printable"
	"github.com/proxyos/caddy-proxyos/internal/probe"
)

// probeReport is what `caddy proxyos probe --json` prints for an address.
type probeReport struct {
	explanation
	Steps       []probe.Step       `json:"steps,omitempty"`
	Certificate *certs.Description `json:"certificate,omitempty"`
	Works       bool               `json:"works"`
	Cause       diagnose.Cause     `json:"cause,omitempty"`
	Verdict     string             `json:"verdict,omitempty"`
	Caddyfile   string             `json:"caddyfile,omitempty"`
}

func probeCommand() *cobra.Command {
	var asJSON bool
	timeout := seconds(5 * time.Second)
	cmd := &cobra.Command{
		Use:   "probe <address>...",
		Short: "Finds out why an upstream does not answer, and what to write",
		Long: `
Looks at each address the way Caddy would: resolves and connects, makes a TLS
handshake with the certificate checked and unchecked, and sends one GET request
for / by HTTPS and by plain HTTP. Ends with a verdict and the lines for the
Caddyfile.

Exits with 0 only if every address works as written.`,
		Example: "  caddy proxyos probe pve:8006\n  caddy proxyos probe --json --timeout 2s https://app:3000",
		RunE: runs(func(cmd *cobra.Command, args []string) (int, error) {
			if len(args) == 0 {
				return exitUsage, usageErrorf("probe takes addresses, such as pve:8006")
			}
			if timeout <= 0 {
				return exitUsage, usageErrorf("--timeout %v: write a time longer than 0, such as 5s", time.Duration(timeout))
			}
			// net/http logs what a server sends unasked; the steps show it anyway
			defer log.SetOutput(log.Writer())
			log.SetOutput(io.Discard)
			return exitFailed, probeAddresses(cmd.Context(), cmd.OutOrStdout(), args, time.Duration(timeout), asJSON)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.Flags().Var(&timeout, "timeout", "How long to look at one address")
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
			r := probeBackend(ctx, b, &probe.Prober{Timeout: timeout}, text)
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

// probeBackend probes a backend, and prints each step when it ends, then the verdict.
func probeBackend(ctx context.Context, b backend, p *probe.Prober, w io.Writer) probeReport {
	r := probeReport{explanation: b.explain()}
	r.print(w)
	fmt.Fprintln(w)
	p.Target = b.probed()
	p.Show = func(s probe.Step) {
		r.Steps = append(r.Steps, s)
		printStep(w, s)
	}
	found := p.Run(ctx)
	v := found.Judge()
	r.Certificate, r.Works, r.Cause, r.Verdict, r.Caddyfile = found.Certificate, v.Works, v.Cause, v.Text, v.Caddyfile
	fmt.Fprintf(w, "\n%s\n", wrapped("  ", v.Text))
	if v.Caddyfile != "" {
		fmt.Fprintln(w)
		for line := range strings.SplitSeq(v.Caddyfile, "\n") {
			fmt.Fprintln(w, "      "+printable.Escape(strings.ReplaceAll(line, "\t", "    ")))
		}
	}
	return r
}

// probed returns what a probe needs to know about a backend of an unknown route.
func (b backend) probed() probe.Target {
	verify, _ := inferVerify(b.address, Upstream{}, nil, defaultOptions())
	return probe.Target{Upstream: b.diagnosed(), Verify: verify}
}

// printStep prints a step for people.
func printStep(w io.Writer, s probe.Step) {
	result := "no"
	if s.OK {
		result = "ok"
	}
	fmt.Fprintln(w, wrapped(fmt.Sprintf("  %-14s %s  ", s.Name, result), fmt.Sprintf("%s (%dms)", s.Detail, s.Milliseconds)))
	if s.Certificate != nil {
		printCertificate(w, *s.Certificate)
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
	line("names", cmp.Or(printable.List(c.Names, c.MoreNames), "none"))
	line("signed by", issuer)
	line("valid", c.NotBefore.UTC().Format(time.DateTime)+" to "+c.NotAfter.UTC().Format(time.DateTime)+" UTC")
	line("sha256", c.SHA256)
}
