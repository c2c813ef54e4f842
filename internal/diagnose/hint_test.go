package diagnose

import (
	"errors"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
)

func upstream(t *testing.T, written, scheme, reason string) Upstream {
	t.Helper()
	a, err := address.Parse(written)
	if err != nil {
		t.Fatal(err)
	}
	return Upstream{Address: a, Scheme: scheme, SchemeReason: reason}
}

func TestEveryCauseHasAHint(t *testing.T) {
	for _, c := range []Cause{
		NoSuchHost, NoResolver, Refused, Unreachable, ConnectTimeout, Timeout, Reset, Closed, PlainHTTP, NotTLS, SpeaksTLS, SpeaksHTTP1, SpeaksH2C,
		UnknownAuthority, WrongName, Expired, NotYetValid, BadCertificate, ClientCert, OldTLS, HandshakeRefused, HTTP2Refused, NotPinned, RedirectLoop,
	} {
		for _, scheme := range []string{address.HTTP, address.HTTPS, address.H2C} {
			u := upstream(t, "app:3000", scheme, "")
			for _, err := range []error{nil, errors.New("an error that says no more")} {
				what, advice := c.Tell(u, err)
				if what == "" || advice == "" || c.Hint(u, err) != what+"; "+advice {
					t.Errorf("%s of an upstream that speaks %s: %q, %q", c, scheme, what, advice)
				}
			}
		}
	}
	if hint := Unknown.Hint(upstream(t, "app:3000", address.HTTP, ""), nil); hint != "" {
		t.Errorf("the unknown cause has the hint %q", hint)
	}
}

func TestHintSaysWhatToWrite(t *testing.T) {
	pin, err := certs.ParsePin(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cause   Cause
		written string
		scheme  string
		reason  string
		err     error
		want    []string
	}{
		{PlainHTTP, "pve:8006", address.HTTPS, "its port is a well-known HTTPS port", nil, []string{"HTTPS to it, since its port is a well-known HTTPS port;", "write http://pve:8006"}},
		{SpeaksTLS, "app:3000", address.HTTP, "", nil, []string{"plain HTTP to it;", "write https://app:3000"}},
		{Closed, "h2c://app:3000", address.H2C, "", nil, []string{"https://app:3000"}},
		{Refused, "localhost:3000", address.HTTP, "", nil, []string{"localhost is the container itself"}},
		{Refused, "127.0.0.9:3000", address.HTTP, "", nil, []string{"localhost is the container itself"}},
		{Refused, "app:3000", address.HTTP, "", nil, []string{"listens on more than localhost"}},
		{NotPinned, "https://app", address.HTTPS, "", &certs.PinError{Shown: pin}, []string{"tls_pin " + pin.String()}},
	} {
		hint := c.cause.Hint(upstream(t, c.written, c.scheme, c.reason), c.err)
		for _, want := range c.want {
			if !strings.Contains(hint, want) {
				t.Errorf("%s at %s: %q, want %q in it", c.cause, c.written, hint, want)
			}
		}
	}
}
