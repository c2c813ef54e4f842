package certs

import (
	"crypto/x509"
	"testing"
)

func TestWatch(t *testing.T) {
	w := new(Watch)
	if _, ok := w.Latest(); ok {
		t.Error("a certificate before the first handshake")
	}
	a, b := selfSigned(t, "127.0.0.1"), selfSigned(t, "127.0.0.1")
	for i, c := range []struct {
		chain []*x509.Certificate
		isNew bool
	}{{a, true}, {a, false}, {b, true}, {a, false}, {b, false}} {
		latest, _ := w.Latest()
		shown, before, isNew := w.Observe(c.chain, "127.0.0.1", nil)
		if isNew != c.isNew {
			t.Errorf("handshake %d: new %v", i, isNew)
		}
		if before.SHA256 != latest.SHA256 {
			t.Errorf("handshake %d: %s was before it, want %s", i, before.SHA256, latest.SHA256)
		}
		if latest, _ := w.Latest(); latest.SHA256 != shown.SHA256 {
			t.Errorf("handshake %d: %s is the latest, want %s", i, latest.SHA256, shown.SHA256)
		}
	}
	for range 2 * maxCertificates {
		w.Observe(selfSigned(t, "127.0.0.1"), "127.0.0.1", nil)
	}
	if len(w.seen) != maxCertificates {
		t.Errorf("%d certificates are remembered", len(w.seen))
	}
}
