package certs

import (
	"crypto/x509"
	"slices"
	"sync"
)

// maxCertificates is how many certificates of one upstream are remembered: those of the
// machines behind one name, say.
const maxCertificates = 16

// Watch remembers the latest certificates that a server has shown, up to 16 of them. It is for
// servers whose certificates are not checked: a new one may be a renewal, or another server.
// The zero value remembers none. Several goroutines may use it at once.
type Watch struct {
	mu   sync.Mutex
	seen []Description // the latest last
}

// Observe notes the chain that a server has shown, which must have a certificate. It returns
// the description of the server's certificate, made for host and roots as by Describe when it
// was new, and that of the latest before it, the zero value if there was none; and it tells
// whether the certificate is new.
func (w *Watch) Observe(chain []*x509.Certificate, host string, roots *x509.CertPool) (shown, before Description, isNew bool) {
	sum := PinOf(chain[0]).String()
	w.mu.Lock()
	defer w.mu.Unlock()
	if last := len(w.seen) - 1; last >= 0 {
		before = w.seen[last]
		for i, known := range w.seen {
			if known.SHA256 == sum {
				w.seen = append(slices.Delete(w.seen, i, i+1), known)
				return known, before, false
			}
		}
	}
	shown = Describe(chain, host, roots)
	if len(w.seen) == maxCertificates {
		w.seen = slices.Delete(w.seen, 0, 1)
	}
	w.seen = append(w.seen, shown)
	return shown, before, true
}

// Latest returns the certificate of the latest handshake, and whether there was one.
func (w *Watch) Latest() (Description, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return Description{}, false
	}
	return w.seen[len(w.seen)-1], true
}

// Destruct has nothing to do, since a watch holds only memory. It lets watches be kept in
// Caddy's usage pools.
func (*Watch) Destruct() error { return nil }
