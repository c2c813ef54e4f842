package proxyos

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

func TestFailedHandshakesAreFailedDials(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"an unknown authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, true},
		{"a certificate that is not pinned", &certs.PinError{}, true},
		{"plain HTTP", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, true},
		{"a bad record later on", tls.RecordHeaderError{Msg: "unsupported SSLv2 handshake received"}, false},
		{"a refusal by the other side", &net.OpError{Op: "remote error", Err: tls.AlertError(116)}, false},
		{"a connection that breaks off", io.EOF, false},
	} {
		_, err := attempt(roundTrip(func(*http.Request) (*http.Response, error) { return nil, c.err }), httptest.NewRequest("POST", "/", nil))
		if isDialError(err) != c.want {
			t.Errorf("%s: a failed dial is %t, want %t", c.name, isDialError(err), c.want)
		}
		if !errors.Is(err, c.err) || err.Error() != c.err.Error() || diagnose.Of(err) != diagnose.Of(c.err) {
			t.Errorf("%s: the cause is hidden in %q", c.name, err)
		}
	}
}
