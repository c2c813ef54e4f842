package proxyos

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// maxCertificates is how many certificates of one upstream are remembered: those of the
// machines behind one name, say.
const maxCertificates = 16

// certWatches keeps what is remembered of certificates over reloads of the configuration,
// so that an exchange during one does not go unnoticed. By dial address and server name.
var certWatches = caddy.NewUsagePool()

// certWatch remembers the certificates that an upstream has shown which are not checked.
type certWatch struct {
	mu   sync.Mutex
	seen []certificate // the latest last
}

// observe notes the chain that a server has shown. It tells whether the server's
// certificate is new, and which one was the latest before it, if any.
func (w *certWatch) observe(chain []*x509.Certificate, host string, roots *x509.CertPool) (shown, before certificate, isNew bool) {
	sum := pin(sha256.Sum256(chain[0].Raw)).String()
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
	shown = describeCertificate(chain, host, roots)
	if len(w.seen) == maxCertificates {
		w.seen = slices.Delete(w.seen, 0, 1)
	}
	w.seen = append(w.seen, shown)
	return shown, before, true
}

// latest returns the certificate of the latest handshake.
func (w *certWatch) latest() (certificate, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return certificate{}, false
	}
	return w.seen[len(w.seen)-1], true
}

// Destruct has nothing to do: a watch holds nothing but memory.
func (*certWatch) Destruct() error { return nil }

// certWatchers are the watches of one transport.
type certWatchers struct {
	route  string
	logger *zap.Logger
	byDial map[string]*certWatch
	keys   []string // in certWatches
}

// watchTarget returns the dial address and the host to verify for a backend whose
// certificate is to be watched. Not every one can be: an address that is known only with a
// request may stand for several servers, and HTTP/3 keeps its handshakes to itself.
func watchTarget(b backend, config *reverseproxy.HTTPTransport) (dial, host string, ok bool) {
	if b.scheme != address.HTTPS || b.verify || b.dial == "" || slices.Contains(config.Versions, "3") {
		return "", "", false
	}
	known := caddy.NewReplacer()
	dial, host = known.ReplaceKnown(b.dial, ""), known.ReplaceKnown(b.address.Host, "")
	if config.TLS.ServerName != "" {
		host = config.TLS.ServerName
	}
	return dial, host, !strings.Contains(dial+host, "{")
}

// watch notes the certificates of an upstream in the log as they come. It changes tlsConfig.
func (w *certWatchers) watch(b backend, dial, host string, tlsConfig *tls.Config) {
	key := dial + " " + host
	value, _ := certWatches.LoadOrStore(key, new(certWatch))
	w.keys = append(w.keys, key)
	watch := value.(*certWatch)
	if w.byDial == nil {
		w.byDial = make(map[string]*certWatch)
	}
	w.byDial[b.dial], w.byDial[dial] = watch, watch

	roots, address := tlsConfig.RootCAs, b.address.String()
	tlsConfig.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		shown, before, isNew := watch.observe(state.PeerCertificates, host, roots)
		if !isNew {
			return nil
		}
		logger := w.logger.With(zap.String("upstream", address), zap.String("route", w.route),
			zap.String("sha256", shown.SHA256), zap.String("subject", shown.Subject),
			zap.Bool("self_signed", shown.SelfSigned), zap.Bool("would_verify", shown.Verifies))
		if before.SHA256 == "" {
			logger.Info("the upstream's certificate is not checked; this is the one it shows")
			return nil
		}
		logger.Warn("the upstream's certificate is not checked, and has changed; if nobody has exchanged it, somebody may be posing as the upstream",
			zap.String("sha256_before", before.SHA256), zap.String("subject_before", before.Subject))
		return nil
	}
}

// release lets go of the watches.
func (w *certWatchers) release() error {
	var all []error
	for _, key := range w.keys {
		_, err := certWatches.Delete(key)
		all = append(all, err)
	}
	w.keys = nil
	return errors.Join(all...)
}

// guardCertificates makes a loaded http transport accept none but the backend's pins, or
// watch its certificate where that is not checked.
func (l legLoader) guardCertificates(b backend, config *reverseproxy.HTTPTransport, loaded any) {
	transport, ok := loaded.(*reverseproxy.HTTPTransport)
	dial, host, watched := watchTarget(b, config)
	if !ok || len(b.pins) == 0 && !watched {
		return
	}
	// http.Transport reads this configuration at each dial, and none has been made yet.
	if transport.Transport.TLSClientConfig == nil {
		transport.Transport.TLSClientConfig = new(tls.Config)
	}
	if len(b.pins) > 0 {
		transport.Transport.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
			return checkPins(b.pins, state)
		}
		return
	}
	l.certs.watch(b, dial, host, transport.Transport.TLSClientConfig)
}

// legKey tells apart the legs that guardCertificates makes different.
func legKey(b backend, config *reverseproxy.HTTPTransport) string {
	var key strings.Builder
	for _, p := range b.pins {
		key.WriteString(p.String())
	}
	if dial, host, watched := watchTarget(b, config); watched {
		key.WriteString(dial + " " + host)
	}
	return key.String()
}

// certificateOf returns the certificate that an upstream with an unchecked certificate
// showed in the latest handshake, by the upstream's dial address.
func (t *transport) certificateOf(dial string) (certificate, bool) {
	watch, ok := t.certs.byDial[dial]
	if !ok {
		return certificate{}, false
	}
	return watch.latest()
}

// Cleanup lets go of what is remembered of certificates.
func (t *transport) Cleanup() error {
	if t.certs == nil {
		return nil
	}
	return t.certs.release()
}

// Interface guards
var (
	_ caddy.CleanerUpper = (*transport)(nil)
	_ caddy.Destructor   = (*certWatch)(nil)
)
