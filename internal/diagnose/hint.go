package diagnose

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// Upstream is what a hint needs to know of an upstream.
type Upstream struct {
	Address      address.Address
	Scheme       string // what Caddy speaks to it: address.HTTP, HTTPS or H2C
	SchemeReason string // why, to follow "since"; may be empty
}

// Hint says in one sentence what is probably wrong with an upstream and what to write instead:
// both parts of Tell, joined by a semicolon. It is empty if nothing is known. err is the error in
// which the cause was found, nil if it was found in a response.
func (c Cause) Hint(u Upstream, err error) string {
	what, advice := c.Tell(u, err)
	if what == "" {
		return ""
	}
	return what + "; " + advice
}

// Tell says what is probably wrong with an upstream, and what to do; both are empty if nothing
// is known. err is the error in which the cause was found, nil if it was found in a response. The
// names and dates of a certificate come from it.
func (c Cause) Tell(u Upstream, err error) (what, advice string) {
	switch c {
	case EmptyPlaceholder, NoSuchHost, Refused, Unreachable, ConnectTimeout:
		if empty, ok := errors.AsType[*PlaceholderError](FindEmptyPlaceholder(u.Address)); ok {
			return tellPlaceholder(empty)
		}
	case ProxyFailed:
		return tellProxy(u, err)
	case NotHTTP2:
		if u.Scheme == address.HTTPS {
			return "it agreed to speak HTTP/2, but speaks something else", "write `versions 1.1` in the route's `transport http`"
		}
		return "Caddy speaks HTTP/2 cleartext to it" + since(u.SchemeReason) + ", but it answers in something else", "write " + u.Address.As(address.HTTP) + " if it speaks HTTP/1.1, or check the port"
	case PlainHTTP:
		return "it answers in plain HTTP, but Caddy speaks HTTPS to it" + since(u.SchemeReason), "write " + u.Address.As(address.HTTP)
	case NotTLS:
		return "Caddy speaks HTTPS to it" + since(u.SchemeReason) + ", but what listens there does not speak TLS", "check the port"
	case SpeaksTLS:
		return "it wants HTTPS, but Caddy speaks plain HTTP to it" + since(u.SchemeReason), "write " + u.Address.As(address.HTTPS)
	case SchemeInValue:
		return "the value of its placeholder has a scheme", "put only host and port into the value, such as app:3000; for HTTPS, write `transport http { tls }` in the route"
	case Stale:
		return "it closed a connection that was idle here, just as a request was sent over it", "set `keepalive` in `transport http` to less than the upstream's own idle time-out, such as `keepalive 4s`"
	case RedirectLoop:
		return "it redirects plain HTTP to HTTPS, so the browser ends up in a redirect loop", "write " + u.Address.As(address.HTTPS)
	case SpeaksHTTP1:
		return "it speaks HTTP/1.1 and does not speak HTTP/2 cleartext", "write " + u.Address.As(address.HTTP)
	case SpeaksH2C:
		return "it only speaks HTTP/2 cleartext, as gRPC servers do", "write " + u.Address.As(address.H2C)
	case ClientCert:
		return "it demands a client certificate", "write `tls_client_auth <cert_file> <key_file>` for this upstream"
	case OldTLS:
		return "it speaks only TLS older than 1.2, which Caddy does not support", "update it or its TLS settings"
	case HandshakeRefused:
		return "it refuses the TLS handshake", "it may demand a client certificate (`tls_client_auth`), expect another name (`tls_server_name`), or share no cipher with Caddy"
	case HTTP2Refused:
		if u.Scheme == address.HTTPS { // TLS 1.3 lets a server reject a client after the handshake
			return "it ends the connection right after the TLS handshake", "it may demand a client certificate (`tls_client_auth`), or not speak HTTP/2 after all (`versions 1.1`)"
		}
		return "it does not speak HTTP/2 cleartext", "write " + u.Address.As(address.HTTP)
	case UnknownAuthority, WrongName, Expired, NotYetValid, BadCertificate, NotPinned:
		return c.tellCertificate(u, err)
	}
	return c.tellNetwork(u)
}

// tellNetwork is Tell for what can happen to any connection.
func (c Cause) tellNetwork(u Upstream) (what, advice string) {
	switch c {
	case NoSuchHost:
		return fmt.Sprintf("the name %q does not resolve here", u.Address.Host), "check its spelling; containers only know each other by name if they share a network"
	case NoResolver:
		return fmt.Sprintf("the name %q could not be looked up, since no name server answers", u.Address.Host), "check /etc/resolv.conf, or write an IP address"
	case NoSocket:
		return "there is no socket " + u.Address.Host, "check that the service runs and where it puts its socket; in a container, also check that the folder is mounted"
	case SocketDenied:
		return "Caddy may not use the socket " + u.Address.Host, "let the user that Caddy runs as read and write it, and enter its folder"
	case Refused:
		if u.Address.IsSocket() {
			return "nothing listens on the socket " + u.Address.Host, "check that the service runs; the file may be left over from one that ended"
		}
		if isLoopback(u.Address.Host) {
			return "nothing listens there", "check that the service runs, and check its port; in a container, localhost is the container itself: write the name of the service's container or of the host instead"
		}
		return "nothing listens there", "check that the service runs, that the port is right, and that it listens on more than localhost"
	case Unreachable:
		return "there is no network route to it", "check the address and this machine's network; in a container, also check which networks it is on"
	case ConnectTimeout:
		return "nothing answers there, not even to refuse the connection", "check the address, whether the machine is on, and the firewalls in between"
	case Timeout:
		return "it accepts connections but does not answer in time", "the service may hang or be overloaded, or speak another protocol"
	case Reset, Closed:
		what := "it closes the connection without an answer"
		if c == Reset {
			what = "it resets the connection"
		}
		if u.Scheme == address.HTTPS {
			return what, fmt.Sprintf("it may not speak HTTPS (then write %s), may demand a client certificate, or may be crashing", u.Address.As(address.HTTP))
		}
		return what, fmt.Sprintf("it may want HTTPS (then write %s), or be crashing", u.Address.As(address.HTTPS))
	}
	return "", ""
}

// tellCertificate is Tell for a certificate that was rejected.
func (c Cause) tellCertificate(u Upstream, err error) (what, advice string) {
	leaf := rejectedCertificate(err)
	pinned := "`tls_pin <sha256>` for this upstream (`caddy proxyos probe " + u.Address.As(address.HTTPS) + "` prints it)"
	switch c {
	case UnknownAuthority:
		if leaf != nil && certs.IsSelfSigned(leaf) {
			return "its certificate is self-signed", "write " + pinned
		}
		return "its certificate is signed by an authority that this machine does not trust", "write `tls_trust_pool file <ca.pem>` with the authority's certificate, or " + pinned
	case WrongName:
		names := "no name at all"
		if leaf != nil && len(leaf.DNSNames)+len(leaf.IPAddresses) > 0 {
			names = strings.Join(namesOf(leaf, 3), ", ")
		}
		host := u.Address.Host
		if mismatch, ok := errors.AsType[x509.HostnameError](err); ok {
			host = mismatch.Host // tls_server_name, perhaps
		}
		return fmt.Sprintf("its certificate is for %s, not for %s", names, host), "write `tls_server_name <name>` with one of its names for this upstream, or `tls_pin <sha256>`"
	case Expired:
		return expiry(leaf), "renew it, or write " + pinned
	case NotYetValid:
		return beginning(leaf), "check the clocks of this machine and of the upstream, or write " + pinned
	case NotPinned:
		if rejected, ok := errors.AsType[*certs.PinError](err); ok {
			return "its certificate is not pinned", fmt.Sprintf("if you replaced it, add `tls_pin %s`; if not, another server may be impersonating the upstream", rejected.Shown)
		}
	}
	return "its certificate does not pass the check", "write " + pinned
}

// since gives a reason, if there is one.
func since(reason string) string {
	if reason == "" {
		return ""
	}
	return ", since " + reason
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// rejectedCertificate returns the certificate that an error is about, or nil.
func rejectedCertificate(err error) *x509.Certificate {
	if rejected, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(rejected.UnverifiedCertificates) > 0 {
		return rejected.UnverifiedCertificates[0]
	}
	return nil
}

// namesOf returns the first few names that a certificate is for.
func namesOf(c *x509.Certificate, most int) []string {
	var names []string
	for _, name := range c.DNSNames[:min(len(c.DNSNames), most+1)] {
		names = append(names, printable.Short(name))
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), most+1)] {
		names = append(names, ip.String())
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return names
}

// expiry says when a certificate expired, if that is known.
func expiry(c *x509.Certificate) string {
	if c == nil {
		return "its certificate has expired"
	}
	return "its certificate expired on " + c.NotAfter.UTC().Format(time.DateOnly)
}

// beginning says when a certificate becomes valid, if that is known.
func beginning(c *x509.Certificate) string {
	if c == nil {
		return "its certificate is not valid yet"
	}
	return "its certificate is not valid before " + c.NotBefore.UTC().Format(time.DateOnly)
}
