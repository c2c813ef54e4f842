package proxyos

import (
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

// cause is why an upstream did not answer, as far as an error tells.
type cause string

// The known causes. Their names stand in the JSON that `caddy proxyos probe` prints.
const (
	causeUnknown          cause = ""
	causeNoSuchHost       cause = "no_such_host"
	causeNoResolver       cause = "name_server_failure"
	causeRefused          cause = "connection_refused"
	causeUnreachable      cause = "unreachable"
	causeConnectTimeout   cause = "connect_timeout"
	causeTimeout          cause = "timeout"
	causeReset            cause = "connection_reset"
	causeClosed           cause = "connection_closed"
	causePlainHTTP        cause = "plain_http_on_https" // plain HTTP answered to TLS
	causeNotTLS           cause = "not_tls"             // something else answered to TLS
	causeSpeaksTLS        cause = "tls_on_http"         // TLS answered to plain HTTP
	causeSpeaksHTTP1      cause = "http1_on_h2c"
	causeSpeaksH2C        cause = "h2c_on_http1"
	causeUnknownAuthority cause = "unknown_authority"
	causeWrongName        cause = "wrong_name"
	causeExpired          cause = "expired"
	causeNotYetValid      cause = "not_yet_valid"
	causeBadCertificate   cause = "invalid_certificate"
	causeClientCert       cause = "client_certificate_demanded"
	causeOldTLS           cause = "tls_too_old"
	causeHandshakeRefused cause = "handshake_refused"
	causeHTTP2Refused     cause = "http2_refused"
	causeNotPinned        cause = "certificate_not_pinned"
	causeRedirectLoop     cause = "redirects_to_https"
)

// causeOf finds the cause of a failed attempt in its error. A request that its client
// gave up has none.
func causeOf(err error) cause {
	if err == nil || errors.Is(err, context.Canceled) {
		return causeUnknown
	}
	if c := certificateCause(err); c != causeUnknown {
		return c
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(record.RecordHeader[:]) == "HTTP/" {
			return causePlainHTTP
		}
		return causeNotTLS
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return causePlainHTTP
	}
	if c := causeOfText(err.Error()); c != causeUnknown {
		return c
	}
	return networkCause(err)
}

// certificateCause is causeOf for a certificate that was refused here.
func certificateCause(err error) cause {
	if _, ok := errors.AsType[*certs.PinError](err); ok {
		return causeNotPinned
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return causeWrongName
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return causeUnknownAuthority
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch {
		case invalid.Reason == x509.Expired && invalid.Cert != nil && strings.Contains(invalid.Detail, "is before"):
			return causeNotYetValid
		case invalid.Reason == x509.Expired:
			return causeExpired
		}
		return causeBadCertificate
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return causeBadCertificate
	}
	return causeUnknown
}

// causesOfTexts are for errors that have no type of their own, or whose type hides the
// error inside: Caddy's DialError is one of those. The first that fits counts.
var causesOfTexts = []struct {
	text  string
	cause cause
}{
	{"no such host", causeNoSuchHost},
	{"lookup ", causeNoResolver},
	{"connection refused", causeRefused},
	{"actively refused", causeRefused}, // on Windows
	{"no route to host", causeUnreachable},
	{"network is unreachable", causeUnreachable},
	{"host is unreachable", causeUnreachable},
	{`malformed HTTP response "\x15\x03`, causeSpeaksTLS}, // a TLS alert
	{`malformed HTTP response "\x00\x00`, causeSpeaksH2C}, // an HTTP/2 frame
	{"frame header looked like an HTTP/1.1 header", causeSpeaksHTTP1},
	{"remote error: tls: certificate required", causeClientCert},
	{"remote error: tls: bad certificate", causeClientCert},
	{"remote error: tls: protocol version not supported", causeOldTLS},
	{"server selected unsupported protocol version", causeOldTLS},
	{"remote error: tls: ", causeHandshakeRefused},
	{"http2: client conn could not be established", causeHTTP2Refused},
}

func causeOfText(text string) cause {
	for _, known := range causesOfTexts {
		if strings.Contains(text, known.text) {
			return known.cause
		}
	}
	return causeUnknown
}

// networkCause is causeOf for what can happen to any connection.
func networkCause(err error) cause {
	netErr, isNetErr := errors.AsType[net.Error](err)
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "dial ") && (strings.Contains(text, "i/o timeout") || strings.Contains(text, "deadline exceeded")):
		return causeConnectTimeout
	case isNetErr && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return causeTimeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), strings.Contains(text, "connection reset"):
		return causeReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(text, "server closed idle connection"):
		return causeClosed
	}
	return causeUnknown
}

// politeRefusals are what servers say in a response with status 400 to a request that
// came the wrong way.
var politeRefusals = []struct {
	says  string
	cause cause
}{
	{"Client sent an HTTP request to an HTTPS server", causeSpeaksTLS},      // Go, and so Caddy
	{"The plain HTTP request was sent to HTTPS port", causeSpeaksTLS},       // nginx
	{"speaking plain HTTP to an SSL-enabled server port", causeSpeaksTLS},   // Apache
	{"This combination of host and port requires TLS", causeSpeaksTLS},      // Tomcat
	{"No required SSL certificate was sent", causeClientCert},               // nginx
	{"The SSL certificate error", causeClientCert},                          // nginx
	{"Client sent an HTTP/1.x request to an HTTP/2 server", causeSpeaksH2C}, // few
}

// causeOfRefusal finds the cause in the beginning of a response with status 400.
func causeOfRefusal(beginning string) cause {
	for _, known := range politeRefusals {
		if strings.Contains(beginning, known.says) {
			return known.cause
		}
	}
	return causeUnknown
}
