package proxyos

import (
	"crypto/tls"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// handshakeError is an error of a TLS handshake that this side has ended. Nothing of the
// request has been sent by then, so that it is a DialError, too: the reverse proxy may send
// any request elsewhere, not only a GET. A DialError proper would hide the cause.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// As implements the interface that errors.As looks for.
func (e *handshakeError) As(target any) bool {
	dialErr, ok := target.(*reverseproxy.DialError)
	if ok {
		*dialErr = reverseproxy.NewDialError(e.error)
	}
	return ok
}

// attempt is RoundTrip of next, with the errors of handshakes as such.
func attempt(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	response, err := next.RoundTrip(req)
	if err != nil && endsHandshake(err) {
		err = &handshakeError{err}
	}
	return response, err
}

// endsHandshake tells whether an error is that the other side's certificate is refused, or
// that it does not speak TLS. A handshake that the other side refuses may have ended here
// already, and the request may be on its way: with TLS 1.3, if a client certificate is
// demanded.
func endsHandshake(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*certs.PinError](err); ok {
		return true
	}
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok && record.Msg == "first record does not look like a TLS handshake"
}
