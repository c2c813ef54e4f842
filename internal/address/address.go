// Package address reads and writes the addresses of upstreams, the servers that a reverse
// proxy sends its requests to. People write them in many ways: "app", "app:3000",
// "https://app.lan", "[2001:db8::1]:8443", "unix//run/app.sock", "app:8440-8445" for several
// ports. A host or a port may be a placeholder in braces, such as "{env.APP}:8443", whose value
// is known only later. Parse takes such a text apart. An Address can be printed again, and says
// what to connect to. What to speak if there is no scheme, and whether to check a certificate,
// is not decided here.
package address

import (
	"net"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Schemes that an address can start with and that an upstream can speak.
const (
	HTTP  = "http"  // HTTP without TLS
	HTTPS = "https" // HTTP over TLS
	H2C   = "h2c"   // HTTP/2 without TLS, from the first byte on
)

// Address is an upstream address taken apart. Each part is as written, except for its case. Two
// texts that mean the same but are written differently, such as "app" and "app:80", give different
// values.
type Address struct {
	Network string // "unix", "tcp4", …; empty if not written
	Scheme  string // one of the schemes; empty if not written
	Host    string // without brackets; the path of a socket; may hold placeholders
	Port    string // a number, a range "8440-8445" or a placeholder; empty if not written
}

// String prints the address so that parsing it again gives the same address.
func (a Address) String() string {
	switch {
	case caddy.IsUnixNetwork(a.Network) && a.Scheme == H2C:
		return a.Network + "+h2c/" + a.Host
	case a.IsSocket():
		return a.Network + "/" + a.Host
	}
	s := a.Host
	if strings.Contains(outsidePlaceholders(a.Host), ":") {
		s = "[" + a.Host + "]"
	}
	if a.Port != "" {
		s += ":" + a.Port
	}
	switch {
	case a.Scheme != "":
		return a.Scheme + "://" + s
	case a.Network != "":
		return a.Network + "/" + s
	}
	return s
}

// Dial returns what to connect to, in Caddy's form: "app:3000", "tcp4/app:80",
// "unix//run/app.sock". A missing port is that of the scheme, 443 or 80, unless the host is a
// placeholder, whose value may have its own.
func (a Address) Dial() string {
	port := a.DialPort()
	switch {
	case a.Network != "":
		return caddy.JoinNetworkAddress(a.Network, a.Host, port)
	case port == "":
		return a.Host
	}
	return net.JoinHostPort(a.Host, port)
}

// DialPort returns the port to connect to: as written, or that of the scheme. It is empty for
// a socket, and if the port depends on the value of a placeholder.
func (a Address) DialPort() string {
	switch {
	case a.Port != "" || a.IsSocket() || strings.Contains(a.Host, "{"):
		return a.Port
	case a.Scheme == HTTPS:
		return "443"
	}
	return "80"
}

// Expand returns one address for each port of a port range, up to 65,535 of them, or a itself
// if its port is not a range.
func (a Address) Expand() []Address {
	first, last, isRange := strings.Cut(a.Port, "-")
	if !isRange || strings.Contains(a.Port, "{") {
		return []Address{a}
	}
	from, _ := strconv.Atoi(first)
	to, _ := strconv.Atoi(last)
	all := make([]Address, 0, to-from+1)
	for port := from; port <= to; port++ {
		one := a
		one.Port = strconv.Itoa(port)
		all = append(all, one)
	}
	return all
}

// As returns the address with another scheme, as advice for a person. It says in words what no
// address can say: a socket with HTTPS, and placeholders, which cannot follow a scheme.
func (a Address) As(scheme string) string {
	if a.Network == "unix" || strings.HasPrefix(a.Network, "fd") {
		switch scheme {
		case H2C:
			return "unix+h2c/" + a.Host
		case HTTPS:
			return a.String() + " with `transport http { tls }`"
		}
		return a.Network + "/" + a.Host
	}
	if a.HasPlaceholder() { // which cannot follow a scheme
		switch scheme {
		case HTTPS:
			return a.WithoutScheme() + " with `transport http { tls }`"
		case H2C:
			return a.WithoutScheme() + " with `transport http { versions h2c }`"
		}
		return "one placeholder for host and port together, such as {env.APP}"
	}
	a.Scheme = scheme
	return a.String()
}

// HasPlaceholder tells whether the host or the port is a placeholder, or has one.
func (a Address) HasPlaceholder() bool { return strings.Contains(a.Host+a.Port, "{") }

// WithoutScheme returns the address as written, but without its scheme.
func (a Address) WithoutScheme() string {
	a.Scheme = ""
	return a.String()
}

// IsSocket tells whether the address is a Unix socket or an open file, which has no port.
func (a Address) IsSocket() bool {
	return caddy.IsUnixNetwork(a.Network) || caddy.IsFdNetwork(a.Network)
}
