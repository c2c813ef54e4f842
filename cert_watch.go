package proxyos

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// certWatches keeps what is remembered of certificates over reloads of the configuration,
// so that a change during one does not go unnoticed. By dial address and server name.
var certWatches = caddy.NewUsagePool()

// certWatchers are the watches of one transport.
type certWatchers struct {
	route  *route
	byDial map[string]*certs.Watch
	keys   []string // in certWatches

	observers []*certs.Observer
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
	value, _ := certWatches.LoadOrStore(key, new(certs.Watch))
	w.keys = append(w.keys, key)
	watch := value.(*certs.Watch)
	if w.byDial == nil {
		w.byDial = make(map[string]*certs.Watch)
	}
	w.byDial[b.dial], w.byDial[dial] = watch, watch

	logger := w.route.logger.With(zap.String("upstream", b.address.String()), zap.String("route", w.route.title))
	observer := watch.Attach(func(r certs.Report) {
		logCertificate(logger, r)
		if r.News == certs.Changed {
			w.route.emit(certificateEvent, map[string]any{"upstream": b.dial, "event": "changed"})
		}
	})
	w.observers = append(w.observers, observer)
	roots := tlsConfig.RootCAs
	tlsConfig.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) > 0 {
			observer.Observe(state.PeerCertificates, host, roots)
		}
		return nil
	}
}

// logCertificate logs what is new about the certificate of an upstream.
func logCertificate(logger *zap.Logger, r certs.Report) {
	if r.News == certs.Many {
		logger.Info("the upstream's certificate is not checked, and it shows many; only the latest are remembered, and each other one counts as a change",
			zap.Int("remembered", r.Remembered))
		return
	}
	logger = logger.With(zap.String("sha256", r.Shown.SHA256), zap.String("subject", r.Shown.Subject),
		zap.Bool("self_signed", r.Shown.SelfSigned), zap.Bool("would_verify", r.Shown.Verifies))
	if r.News == certs.First {
		logger.Info("the upstream's certificate is not checked; this is the one it shows")
		return
	}
	logger.Warn("the upstream's certificate is not checked, and has changed; unless you replaced it, another server may be impersonating the upstream",
		zap.String("sha256_before", r.Before.SHA256), zap.String("subject_before", r.Before.Subject), zap.Int("changes", r.Changes))
}

// release lets go of the watches.
func (w *certWatchers) release() error {
	for _, observer := range w.observers {
		observer.Detach()
	}
	w.observers = nil
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
func (l *laneLoader) guardCertificates(b backend, transport *reverseproxy.HTTPTransport) {
	dial, host, watched := watchTarget(b, transport)
	if len(b.pins) == 0 && !watched {
		return
	}
	// http.Transport reads this configuration at each dial, and none has been made yet.
	if transport.Transport.TLSClientConfig == nil {
		transport.Transport.TLSClientConfig = new(tls.Config)
	}
	if len(b.pins) > 0 {
		transport.Transport.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
			return certs.CheckPins(b.pins, state)
		}
		return
	}
	l.certs.watch(b, dial, host, transport.Transport.TLSClientConfig)
}

// Interface guards
var _ caddy.Destructor = (*certs.Watch)(nil)
