package proxyos

import (
	"fmt"
	"slices"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

const idleChecksWarning = "active health checks have no effect on dynamic upstreams; leave them out, or write the upstreams with `to`"

// lint warns of what is allowed but often a mistake. Each warning says what to write, and that
// ends it.
func (p *plan) lint() []string {
	var warnings []string
	for _, g := range p.groups() {
		for _, b := range g.backends {
			warnings = append(warnings, b.lint(p.addresses)...)
		}
		warnings = append(warnings, g.lint()...)
	}
	warnings = append(warnings, p.lintTwins()...)
	warnings = append(warnings, p.lintIdleSkip()...)
	if p.staging != nil && p.percent == 0 && p.name == "" && len(p.when.StagingWhen) == 0 {
		warnings = append(warnings, "traffic_split 0: nothing ever goes to staging; give the route a `name` to raise the share while it runs, or write `staging_when`, or a share above 0")
	}
	if r := p.release; r != nil && !r.DryRun {
		if steps := r.plan().Steps; len(steps) > 0 && p.percent > steps[0] {
			warnings = append(warnings, fmt.Sprintf("traffic_split %v: a release begins at its first step, so starting it lowers staging's share to %v %%; write a traffic_split of at most %v, or a higher first step", p.percent, steps[0], steps[0]))
		}
	}
	if p.idleChecks() {
		warnings = append(warnings, idleChecksWarning)
	}
	if lb := p.proxy.LoadBalancing; lb != nil && lb.Retries > 0 && !p.hasSeveral() {
		warnings = append(warnings, fmt.Sprintf("lb_retries %d with a single upstream only repeats the request there; add another upstream, or remove lb_retries", lb.Retries))
	}
	return warnings
}

// notes says what cannot be known from the config.
func (p *plan) notes() []string {
	var notes []string
	for _, g := range p.groups() {
		if g.isDynamic() {
			notes = append(notes, g.name+" has dynamic upstreams, which are known only at run time")
		}
	}
	if p.ownTransport {
		notes = append(notes, "the route's transport is not http, so none of this applies: it speaks to every upstream in its own way")
	}
	return notes
}

// manyPorts is how many upstreams a range may stand for without a warning.
const manyPorts = 100

// lint warns of what is often a mistake among the upstreams of a group, as they are written.
func (g *groupPlan) lint() []string {
	var warnings []string
	for _, u := range g.config.Upstreams {
		a, err := address.Parse(u.Address)
		if err != nil {
			continue
		}
		ports := a.Expand()
		if len(ports) > manyPorts {
			warnings = append(warnings, lintRange(u.Address, len(ports)))
		}
		speaksHTTPS := func(one address.Address) bool {
			return slices.ContainsFunc(g.backends, func(b backend) bool { return b.address == one && b.scheme == address.HTTPS })
		}
		if u.SkipTLSVerify != nil && len(g.backends) > 0 && !slices.ContainsFunc(ports, speaksHTTPS) {
			warnings = append(warnings, fmt.Sprintf("%s: skip_tls_verify has no effect, since it speaks HTTP; write %s, or remove skip_tls_verify", u.Address, a.As(address.HTTPS)))
		}
	}
	return warnings
}

func lintRange(written string, ports int) string {
	return fmt.Sprintf("%s: this range stands for %d upstreams; write fewer ports, if that is not meant", written, ports)
}

// lintTwins warns of addresses that are there twice. Those with two meanings are errors.
func (p *plan) lintTwins() []string {
	var warnings []string
	groups, told := make(map[string]string), make(map[string]bool)
	for _, g := range p.groups() {
		for _, b := range g.backends {
			dial := b.knownDial()
			other, twice := groups[dial]
			switch {
			case !twice:
				groups[dial] = g.name
			case told[dial]:
			case other == g.name:
				told[dial] = true
				warnings = append(warnings, fmt.Sprintf("%s: it is in %s twice, and gets two turns; write it once, or give it a `weight`", b.address, g.name))
			default:
				told[dial] = true
				warnings = append(warnings, fmt.Sprintf("%s: it is in production and in staging, so the share decides nothing for it; write another address for one of them", b.address))
			}
		}
	}
	return warnings
}

// lintIdleSkip warns of a skip_tls_verify of the route or a group that no upstream is there for.
func (p *plan) lintIdleSkip() []string {
	var warnings []string
	speaksHTTPS := func(b backend) bool { return b.scheme == address.HTTPS }
	idle := func(groups ...*groupPlan) bool {
		return !p.ownTransport && !slices.ContainsFunc(groups, func(g *groupPlan) bool {
			return g.isDynamic() || len(g.backends) == 0 || slices.ContainsFunc(g.backends, speaksHTTPS)
		})
	}
	const advice = "skip_tls_verify has no effect, since every upstream %sspeaks HTTP; write https:// where one speaks HTTPS, or remove skip_tls_verify"
	if p.addresses.skipTLSVerify != nil && idle(p.groups()...) {
		warnings = append(warnings, fmt.Sprintf(advice, ""))
	}
	if p.staging != nil && p.staging.config.SkipTLSVerify != nil && idle(p.staging) {
		warnings = append(warnings, "staging: "+fmt.Sprintf(advice, "of it "))
	}
	return warnings
}

// cleartextPorts are ports that rarely speak HTTPS.
var cleartextPorts = newPortSet([]int{3000, 8000, 8080, 8081, 8888})

// lint warns of what is allowed for an upstream but often a mistake.
func (b backend) lint(route routeOptions) []string {
	var all []string
	warn := func(format string, args ...any) {
		all = append(all, b.address.String()+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case b.scheme == address.HTTPS && b.schemeReason == becauseDetected && b.verifyReason == becauseDetected && b.address.Port == "9090":
		warn("9090 is HTTPS for Cockpit but plain HTTP for Prometheus; if this is Prometheus, write %s", b.address.As(address.HTTP))
	case b.scheme != address.HTTPS && b.schemeReason == becauseWritten && b.address.Port == "443" && route.httpsPorts.has("443"):
		warn("a written %s:// wins over the HTTPS port 443; if it speaks HTTPS, leave out the scheme", b.address.Scheme)
	case b.scheme == address.HTTPS && b.schemeReason == becauseTransport && cleartextPorts.has(b.address.Port):
		warn("HTTPS on port %s, only because of the route's transport; write %s if that is meant, or %s if not", b.address.Port, b.address.As(address.HTTPS), b.address.As(address.HTTP))
	}
	if b.uncheckedByDetection() {
		warn("the certificate is not checked, only because of the port; write `tls_pin` or `skip_tls_verify off` to check it, or `skip_tls_verify` if this is what you want")
	}
	return all
}
