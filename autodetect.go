package proxyos

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// defaultHTTPSPorts are the ports that mean HTTPS with an unchecked certificate if an
// address has one of them and does not start with "http://": HTTPS itself, Proxmox VE,
// Proxmox Backup Server, UniFi and Portainer, Cockpit, Portainer, and pfSense or FortiGate.
var defaultHTTPSPorts = []int{443, 8006, 8007, 8443, 9090, 9443, 10443}

// portSet is a set of ports, written as in addresses.
type portSet map[string]struct{}

func newPortSet(ports []int) portSet {
	set := make(portSet, len(ports))
	for _, port := range ports {
		set[strconv.Itoa(port)] = struct{}{}
	}
	return set
}

func (s portSet) has(port string) bool {
	_, ok := s[port]
	return ok
}

// reason says which rule decided how to speak to an upstream, or whether to check its
// certificate.
type reason string

const (
	becauseWritten    reason = "the address says so"
	becauseDetected   reason = "its port is a well-known HTTPS port"
	becausePlain      reason = "it has no scheme and no well-known HTTPS port"
	becauseSocket     reason = "it is a socket"
	becauseTransport  reason = "the route's transport says so"
	becauseException  reason = "its port is one of tls_except_ports"
	becauseOfUpstream reason = "the upstream's skip_tls_verify says so"
	becauseOfGroup    reason = "its group's skip_tls_verify says so"
	becauseOfRoute    reason = "the route's skip_tls_verify says so"
	becauseOfTrust    reason = "the upstream has its own TLS settings"
	becauseOfPin      reason = "its certificate is pinned"
	becauseDefault    reason = "certificates are checked by default"
)

// routeOptions are the settings of a route that affect the meaning of its addresses.
type routeOptions struct {
	httpsPorts portSet

	skipTLSVerify *bool                   // the route's
	tls           *reverseproxy.TLSConfig // of the route's transport; nil if it has none
	cleartextH2   bool                    // the route's transport says `versions h2c`
}

// defaultOptions are those of an unknown route.
func defaultOptions() routeOptions {
	return routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts)}
}

// meaning is how to speak to an upstream.
type meaning struct {
	scheme       string // one of the schemes
	schemeReason reason
	verify       bool // whether the certificate is checked; only for HTTPS
	verifyReason reason
}

// infer decides how to speak to the upstream at a. u and group have what was written for
// the upstream and its group.
func infer(a address.Address, u Upstream, group *bool, route routeOptions) meaning {
	var m meaning
	m.scheme, m.schemeReason = inferScheme(a, route)
	if m.scheme == address.HTTPS {
		m.verify, m.verifyReason = inferVerify(a, u, group, route)
	}
	return m
}

func inferScheme(a address.Address, route routeOptions) (string, reason) {
	cleartext := address.HTTP
	if route.cleartextH2 {
		cleartext = address.H2C
	}
	switch {
	case a.Scheme == address.HTTP:
		return cleartext, becauseWritten
	case a.Scheme == address.H2C:
		return address.H2C, becauseWritten
	case route.tls != nil && slices.Contains(route.tls.ExceptPorts, a.DialPort()):
		return cleartext, becauseException
	case a.Scheme == address.HTTPS:
		return address.HTTPS, becauseWritten
	case route.tls != nil:
		return address.HTTPS, becauseTransport
	case route.httpsPorts.has(a.Port):
		return address.HTTPS, becauseDetected
	case a.Network == "unix":
		return cleartext, becauseSocket
	}
	return cleartext, becausePlain
}

// inferVerify decides whether a certificate is checked, by the first rule that applies.
func inferVerify(a address.Address, u Upstream, group *bool, route routeOptions) (bool, reason) {
	switch {
	case u.SkipTLSVerify != nil:
		return !*u.SkipTLSVerify, becauseOfUpstream
	case group != nil:
		return !*group, becauseOfGroup
	case route.skipTLSVerify != nil:
		return !*route.skipTLSVerify, becauseOfRoute
	case len(u.TLSPins) > 0:
		return true, becauseOfPin
	case u.TLS != nil:
		return !u.TLS.InsecureSkipVerify, becauseOfTrust
	case route.tls != nil:
		return !route.tls.InsecureSkipVerify, becauseTransport
	case route.httpsPorts.has(a.Port):
		return false, becauseDetected
	}
	return true, becauseDefault
}

// uncheckedByDetection tells whether the certificate is unchecked only because of the port.
// The operator is warned of that.
func (m meaning) uncheckedByDetection() bool {
	return m.scheme == address.HTTPS && !m.verify && m.verifyReason == becauseDetected
}

// parseHTTPSPorts applies the arguments of the https_ports option to the default list.
// Ports without a sign replace the list; "+" adds to it and "-" removes from it. A sign
// also applies to the ports that follow it.
func parseHTTPSPorts(args []string) ([]int, error) {
	if len(args) == 0 {
		return nil, errors.New("https_ports: no port given; write the ports that mean HTTPS, or +8444 to add one")
	}
	ports, sign := slices.Clone(defaultHTTPSPorts), byte(0)
	if !strings.HasPrefix(args[0], "+") && !strings.HasPrefix(args[0], "-") {
		ports = nil
	}
	for i, arg := range args {
		digits := strings.TrimLeft(arg, "+-")
		switch signs := arg[:len(arg)-len(digits)]; {
		case len(signs) > 1:
			return nil, fmt.Errorf("https_ports: %q has more than one sign; write +8444 or -9090", arg)
		case len(signs) == 1 && i > 0 && sign == 0:
			return nil, fmt.Errorf("https_ports: %q changes a list that %q replaces; write signs for all ports or for none", arg, args[0])
		case len(signs) == 1:
			sign = signs[0]
		}
		if digits == "" && arg != "" && i < len(args)-1 {
			continue // a sign by itself: "+ 8444 5001"
		}
		port, err := address.ParsePort(digits)
		if err != nil {
			return nil, fmt.Errorf("https_ports: %w", err)
		}
		if sign == '-' {
			ports = slices.DeleteFunc(ports, func(p int) bool { return p == port })
			continue
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}
