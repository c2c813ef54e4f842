package proxyos

import (
	"encoding/json"
	"fmt"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// retriesInVain warns of retries that have nowhere to go.
func retriesInVain(h *Handler, all []backend) string {
	var balancing struct {
		Retries int `json:"retries"`
	}
	if raw, ok := h.ReverseProxy["load_balancing"]; ok && len(all) == 1 && h.ReverseProxy["dynamic_upstreams"] == nil {
		if json.Unmarshal(raw, &balancing) == nil && balancing.Retries > 0 {
			return fmt.Sprintf("lb_retries %d with a single upstream asks the same one again; add another, or remove it", balancing.Retries)
		}
	}
	return ""
}

// cleartextPorts are ports where HTTPS is rarely found.
var cleartextPorts = newPortSet([]int{80, 3000, 8000, 8080, 8081, 8888})

// suspicions warns of what is allowed and yet often a mistake.
func suspicions(b backend, route routeOptions) []string {
	var all []string
	warn := func(format string, args ...any) {
		all = append(all, b.address.String()+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case b.scheme == address.HTTPS && b.schemeReason == becauseDetected && b.address.Port == "9090":
		warn("9090 is HTTPS for Cockpit but plain HTTP for Prometheus; if it is that, write %s", b.address.As(address.HTTP))
	case b.scheme != address.HTTPS && b.schemeReason == becauseWritten && route.httpsPorts.has(b.address.Port):
		warn("a written %s:// wins over the well-known HTTPS port %s; if it speaks HTTPS, leave the scheme out", b.address.Scheme, b.address.Port)
	case b.scheme == address.HTTPS && cleartextPorts.has(b.address.Port):
		warn("HTTPS on port %s, where plain HTTP is usual; `caddy proxyos probe` tells which it is", b.address.Port)
	}
	if b.uncheckedByDetection() {
		warn("the certificate is not checked, only because of the port; write `tls_pin` or `skip_tls_verify off` for it, or `skip_tls_verify` if this is meant")
	}
	if b.weight == 0 {
		warn("weight 0: it gets no new requests")
	}
	return all
}
