package proxyos

import (
	"fmt"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

const idleChecksWarning = "active health checks have no effect on dynamic upstreams; leave them out, or write the upstreams with `to`"

// lint warns of what is allowed but often a mistake.
func (p *plan) lint() []string {
	var warnings []string
	for _, g := range p.groups() {
		for _, b := range g.backends {
			warnings = append(warnings, b.lint(p.addresses)...)
		}
		if g.isDynamic() {
			warnings = append(warnings, g.name+" has dynamic upstreams, which are known only at run time")
		}
	}
	if p.ownTransport {
		warnings = append(warnings, "the route's transport is not http, so none of this applies: it speaks to every upstream in its own way")
	}
	if p.idleChecks() {
		warnings = append(warnings, idleChecksWarning)
	}
	if lb := p.proxy.LoadBalancing; lb != nil && lb.Retries > 0 && !p.hasSeveral() {
		warnings = append(warnings, fmt.Sprintf("lb_retries %d with a single upstream only repeats the request there; add another upstream, or remove lb_retries", lb.Retries))
	}
	return warnings
}

// cleartextPorts are ports that rarely speak HTTPS.
var cleartextPorts = newPortSet([]int{80, 3000, 8000, 8080, 8081, 8888})

// lint warns of what is allowed for an upstream but often a mistake.
func (b backend) lint(route routeOptions) []string {
	var all []string
	warn := func(format string, args ...any) {
		all = append(all, b.address.String()+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case b.scheme == address.HTTPS && b.schemeReason == becauseDetected && b.address.Port == "9090":
		warn("9090 is HTTPS for Cockpit but plain HTTP for Prometheus; if this is Prometheus, write %s", b.address.As(address.HTTP))
	case b.scheme != address.HTTPS && b.schemeReason == becauseWritten && route.httpsPorts.has(b.address.Port):
		warn("a written %s:// wins over the well-known HTTPS port %s; if it speaks HTTPS, leave out the scheme", b.address.Scheme, b.address.Port)
	case b.scheme == address.HTTPS && cleartextPorts.has(b.address.Port):
		warn("HTTPS on port %s, where plain HTTP is usual; `caddy proxyos probe` shows which it is", b.address.Port)
	}
	if b.uncheckedByDetection() {
		warn("the certificate is not checked, only because of the port; write `tls_pin` or `skip_tls_verify off` to check it, or `skip_tls_verify` if this is what you want")
	}
	if b.weight == 0 {
		warn("weight 0: it gets no new requests")
	}
	return all
}
