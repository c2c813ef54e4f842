package proxyos

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
)

// hint says in one sentence what is probably wrong with an upstream and what to write
// instead; empty if nothing is known. err is the error that the cause was found in.
func (c cause) hint(b backend, err error) string {
	what, advice := c.tell(b, err)
	if what == "" {
		return ""
	}
	return what + "; " + advice
}

// tell says what is probably wrong with an upstream, and what to do.
func (c cause) tell(b backend, err error) (what, advice string) {
	switch c {
	case causePlainHTTP:
		return "it answers in plain HTTP but is spoken to in HTTPS" + since(b.schemeReason), "write " + b.address.As(address.HTTP)
	case causeNotTLS:
		return "it is spoken to in HTTPS" + since(b.schemeReason) + ", and what listens there speaks no TLS", "check the port"
	case causeSpeaksTLS:
		return "it wants HTTPS but is spoken to in plain HTTP" + since(b.schemeReason), "write " + b.address.As(address.HTTPS)
	case causeRedirectLoop:
		return "it sends plain HTTP requests back to HTTPS, and so a browser in circles", "write " + b.address.As(address.HTTPS)
	case causeSpeaksHTTP1:
		return "it speaks HTTP/1.1 and does not speak HTTP/2 cleartext", "write " + b.address.As(address.HTTP)
	case causeSpeaksH2C:
		return "it speaks HTTP/2 cleartext only, as gRPC servers do", "write " + b.address.As(address.H2C)
	case causeClientCert:
		return "it demands a client certificate", "write `tls_client_auth <cert_file> <key_file>` for this upstream"
	case causeOldTLS:
		return "it speaks only TLS older than 1.2, which Caddy refuses", "update it or its TLS settings"
	case causeHandshakeRefused:
		return "it refuses the TLS handshake", "it may demand a client certificate (`tls_client_auth`), know another name (`tls_server_name`), or have no cipher in common"
	case causeHTTP2Refused:
		if b.scheme == address.HTTPS { // TLS 1.3 lets a server refuse a client after the handshake
			return "it ends the connection right after the TLS handshake", "it may demand a client certificate (`tls_client_auth`), or not speak HTTP/2 after all (`versions 1.1`)"
		}
		return "it does not speak HTTP/2 cleartext", "write " + b.address.As(address.HTTP)
	case causeUnknownAuthority, causeWrongName, causeExpired, causeNotYetValid, causeBadCertificate, causeNotPinned:
		return c.tellCertificate(b, err)
	}
	return c.tellNetwork(b)
}

// tellNetwork is tell for what can happen to any connection.
func (c cause) tellNetwork(b backend) (what, advice string) {
	switch c {
	case causeNoSuchHost:
		return fmt.Sprintf("the name %q does not resolve here", b.address.Host), "check its spelling, and in a container remember that only containers on the same network know each other by name"
	case causeNoResolver:
		return fmt.Sprintf("the name %q could not be looked up, since no name server answers", b.address.Host), "check /etc/resolv.conf, or write an IP address"
	case causeRefused:
		if isLoopback(b.address.Host) {
			return "nothing listens there", "check that the service runs and its port, and in a container remember that localhost is the container itself: name the service's container or the host instead"
		}
		return "nothing listens there", "check that the service runs, its port, and that it listens on more than localhost"
	case causeUnreachable:
		return "no route leads there", "check the address and this machine's network, in a container also which networks it is on"
	case causeConnectTimeout:
		return "nothing answers there, not even with a refusal", "check the address, that the machine is on, and firewalls on the way"
	case causeTimeout:
		return "it accepts connections but does not answer in time", "the service may hang or be overloaded, or speak another protocol"
	case causeReset, causeClosed:
		what := "it closes the connection without an answer"
		if c == causeReset {
			what = "it resets the connection"
		}
		if b.scheme == address.HTTPS {
			return what, fmt.Sprintf("it may not speak HTTPS (then write %s), demand a client certificate, or be crashing", b.address.As(address.HTTP))
		}
		return what, fmt.Sprintf("it may want HTTPS (then write %s), or be crashing", b.address.As(address.HTTPS))
	}
	return "", ""
}

// tellCertificate is tell for a certificate that was refused.
func (c cause) tellCertificate(b backend, err error) (what, advice string) {
	leaf := refusedCertificate(err)
	pinned := "`tls_pin <sha256>` for this upstream (`caddy proxyos probe " + b.address.As(address.HTTPS) + "` prints it)"
	switch c {
	case causeUnknownAuthority:
		if leaf != nil && certs.IsSelfSigned(leaf) {
			return "its certificate is self-signed", "write " + pinned
		}
		return "its certificate is signed by an authority that this machine does not trust", "write `tls_trust_pool file <ca.pem>` with the authority's certificate, or " + pinned
	case causeWrongName:
		names := "no name at all"
		if leaf != nil && len(leaf.DNSNames)+len(leaf.IPAddresses) > 0 {
			names = strings.Join(namesOf(leaf, 3), ", ")
		}
		host := b.address.Host
		if mismatch, ok := errors.AsType[x509.HostnameError](err); ok {
			host = mismatch.Host // tls_server_name, perhaps
		}
		return fmt.Sprintf("its certificate is for %s, not for %s", names, host), "write `tls_server_name <name>` with one of its names for this upstream, or `tls_pin <sha256>`"
	case causeExpired:
		return "its certificate has expired" + onDate(leaf, false), "renew it, or write " + pinned
	case causeNotYetValid:
		return "its certificate is not valid yet" + onDate(leaf, true), "check the clock of this machine and of the upstream's, or write " + pinned
	case causeNotPinned:
		if refused, ok := errors.AsType[*certs.PinError](err); ok {
			return "its certificate is none of those pinned", fmt.Sprintf("if it was exchanged on purpose, add `tls_pin %s`, and if not, somebody may be posing as the upstream", refused.Shown)
		}
	}
	return "its certificate cannot be checked", "write " + pinned
}

// since gives a reason, if there is one to give.
func since(r reason) string {
	if r == "" {
		return ""
	}
	return ", since " + string(r)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// refusedCertificate returns the certificate that an error is about, or nil.
func refusedCertificate(err error) *x509.Certificate {
	if refused, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(refused.UnverifiedCertificates) > 0 {
		return refused.UnverifiedCertificates[0]
	}
	return nil
}

// namesOf returns the names that a certificate is for, the first few of them.
func namesOf(c *x509.Certificate, most int) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return names
}

// onDate says when a certificate's time ends or begins.
func onDate(c *x509.Certificate, begins bool) string {
	switch {
	case c == nil:
		return ""
	case begins:
		return ", but from " + c.NotBefore.UTC().Format(time.DateOnly) + " on"
	}
	return " on " + c.NotAfter.UTC().Format(time.DateOnly)
}
