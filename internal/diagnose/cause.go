package diagnose

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// Cause is why an upstream did not answer, as far as an error tells.
type Cause string

// The known causes. Their texts stand in the JSON that `caddy proxyos probe` prints, and do not
// change.
const (
	Unknown          Cause = ""                            // nothing is known
	NoSuchHost       Cause = "no_such_host"                // the name does not resolve
	NoResolver       Cause = "name_server_failure"         // no name server answers
	Refused          Cause = "connection_refused"          // nothing listens
	NoSocket         Cause = "no_such_socket"              // there is no Unix socket of that path
	SocketDenied     Cause = "socket_permission_denied"    // the Unix socket is not for Caddy's user
	EmptyPlaceholder Cause = "empty_placeholder"           // a placeholder in the address has no value
	ProxyFailed      Cause = "proxy_failed"                // a proxy on the way there fails
	Unreachable      Cause = "unreachable"                 // no route leads there
	ConnectTimeout   Cause = "connect_timeout"             // no answer to the attempt to connect
	Timeout          Cause = "timeout"                     // connected, but no answer in time
	Reset            Cause = "connection_reset"            // the server reset the connection
	Closed           Cause = "connection_closed"           // the server closed the connection without an answer
	PlainHTTP        Cause = "plain_http_on_https"         // plain HTTP answered to TLS
	NotTLS           Cause = "not_tls"                     // something else answered to TLS
	SpeaksTLS        Cause = "tls_on_http"                 // TLS answered to plain HTTP
	SpeaksHTTP1      Cause = "http1_on_h2c"                // HTTP/1.1 answered to HTTP/2 cleartext
	NotHTTP2         Cause = "not_http2"                   // something else answered to HTTP/2
	SpeaksH2C        Cause = "h2c_on_http1"                // HTTP/2 cleartext answered to HTTP/1.1
	UnknownAuthority Cause = "unknown_authority"           // the certificate is signed by nobody who is trusted here
	WrongName        Cause = "wrong_name"                  // the certificate is for another name
	Expired          Cause = "expired"                     // the certificate has expired
	NotYetValid      Cause = "not_yet_valid"               // the certificate is not valid yet
	BadCertificate   Cause = "invalid_certificate"         // the certificate does not pass for another reason
	ClientCert       Cause = "client_certificate_demanded" // the server demands a client certificate
	OldTLS           Cause = "tls_too_old"                 // the server speaks only TLS older than 1.2
	HandshakeRefused Cause = "handshake_refused"           // the server ended the TLS handshake
	HTTP2Refused     Cause = "http2_refused"               // the server ended an HTTP/2 connection at its start
	NotPinned        Cause = "certificate_not_pinned"      // the certificate is not one of those pinned
	SchemeInValue    Cause = "scheme_in_value"             // a placeholder of the address stands for one with a scheme
	Stale            Cause = "stale_connection"            // a connection that had been idle ended when it was used again
	RedirectLoop     Cause = "redirects_to_https"          // it redirects to HTTPS, though the client came by HTTPS
)

// Causes are those that Of finds, but for Unknown.
var Causes = [...]Cause{
	NoSuchHost, NoResolver, Refused, NoSocket, SocketDenied, EmptyPlaceholder, SchemeInValue, ProxyFailed, Unreachable,
	ConnectTimeout, Timeout, Reset, Closed,
	PlainHTTP, NotTLS, SpeaksTLS, SpeaksHTTP1, NotHTTP2, SpeaksH2C, HTTP2Refused,
	UnknownAuthority, WrongName, Expired, NotYetValid, BadCertificate, NotPinned, ClientCert, OldTLS, HandshakeRefused,
}

// Of finds the cause of a failed attempt in its error. It is Unknown for no error, for one that
// is not known, and for a request that its client gave up.
func Of(err error) Cause {
	if err == nil || errors.Is(err, context.Canceled) {
		return Unknown
	}
	if _, ok := errors.AsType[*PlaceholderError](err); ok {
		return EmptyPlaceholder
	}
	if _, ok := errors.AsType[*SchemeError](err); ok {
		return SchemeInValue
	}
	if isProxyError(err) { // first, so that the proxy's failure is not taken for the upstream's
		return ProxyFailed
	}
	if c := certificateCause(err); c != Unknown {
		return c
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if begin := record.RecordHeader[:]; string(begin) == "HTTP/" || isHTML(begin) {
			return PlainHTTP
		}
		return NotTLS
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return PlainHTTP
	}
	if c := causeOfText(err.Error()); c != Unknown {
		return c
	}
	return networkCause(err)
}

// isHTML tells whether an answer begins like an HTML page. Servers that take a TLS handshake for
// an HTTP/0.9 request answer with a page only, without a status line.
func isHTML(begin []byte) bool {
	begin = bytes.TrimLeft(begin, "\r\n\t ")
	return bytes.HasPrefix(begin, []byte("<")) && !bytes.HasPrefix(begin, []byte("<?")) && !bytes.HasPrefix(begin, []byte("<str")) // XML, XMPP
}

// certificateCause is Of for a certificate that was rejected here.
func certificateCause(err error) Cause {
	if _, ok := errors.AsType[*certs.PinError](err); ok {
		return NotPinned
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return WrongName
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return UnknownAuthority
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch {
		case invalid.Reason == x509.Expired && invalid.Cert != nil && strings.Contains(invalid.Detail, "is before"):
			return NotYetValid
		case invalid.Reason == x509.Expired:
			return Expired
		}
		return BadCertificate
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return BadCertificate
	}
	return Unknown
}

// causesOfTexts are for errors that have no type of their own, or whose type hides the
// error inside: Caddy's DialError is one of those. The first that fits counts.
var causesOfTexts = []struct {
	text  string
	cause Cause
}{
	{"unknown network http:", SchemeInValue},
	{"unknown network https:", SchemeInValue},
	{"no such host", NoSuchHost},
	{"lookup ", NoResolver},
	{"invalid proxy address", ProxyFailed},
	{"connect: no such file or directory", NoSocket},
	{"connect: not a directory", NoSocket},
	{"connection refused", Refused},
	{"actively refused", Refused}, // on Windows
	{"no route to host", Unreachable},
	{"network is unreachable", Unreachable},
	{"host is unreachable", Unreachable},
	{`malformed HTTP response "\x15\x03`, SpeaksTLS}, // a TLS alert
	{`malformed HTTP response "\x00\x00`, SpeaksH2C}, // an HTTP/2 frame
	{"frame header looked like an HTTP/1.1 header", SpeaksHTTP1},
	{"http2: frame too large", NotHTTP2},
	{"remote error: tls: certificate required", ClientCert},
	{"remote error: tls: bad certificate", ClientCert},
	{"remote error: tls: protocol version not supported", OldTLS},
	{"server selected unsupported protocol version", OldTLS},
	{"remote error: tls: ", HandshakeRefused},
	{"http2: client conn could not be established", HTTP2Refused},
}

func causeOfText(text string) Cause {
	for _, known := range causesOfTexts {
		if strings.Contains(text, known.text) {
			return known.cause
		}
	}
	return Unknown
}

// networkCause is Of for what can happen to any connection.
func networkCause(err error) Cause {
	netErr, isNetErr := errors.AsType[net.Error](err)
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "dial unix ") && strings.Contains(text, "permission denied"):
		return SocketDenied
	case strings.HasPrefix(text, "dial ") && (strings.Contains(text, "i/o timeout") || strings.Contains(text, "deadline exceeded")):
		return ConnectTimeout
	case isNetErr && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), strings.Contains(text, "connection reset"):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), strings.Contains(text, "server closed idle connection"):
		return Closed
	}
	return Unknown
}

// politeRefusals are what servers say in a response with status 400 to a request that
// came the wrong way.
var politeRefusals = []struct {
	says  string
	cause Cause
}{
	{"Client sent an HTTP request to an HTTPS server", SpeaksTLS},      // Go, and so Caddy
	{"The plain HTTP request was sent to HTTPS port", SpeaksTLS},       // nginx
	{"speaking plain HTTP to an SSL-enabled server port", SpeaksTLS},   // Apache
	{"This combination of host and port requires TLS", SpeaksTLS},      // Tomcat
	{"No required SSL certificate was sent", ClientCert},               // nginx
	{"The SSL certificate error", ClientCert},                          // nginx
	{"Client sent an HTTP/1.x request to an HTTP/2 server", SpeaksH2C}, // few
}

// OfRefusal finds the cause in the beginning of the body of a response with status 400, as
// returned by Peek. It is Unknown for a body that says nothing of how to ask.
func OfRefusal(beginning string) Cause {
	for _, known := range politeRefusals {
		if strings.Contains(beginning, known.says) {
			return known.cause
		}
	}
	return Unknown
}
