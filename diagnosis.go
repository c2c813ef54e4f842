package proxyos

import (
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

const (
	// hintInterval is how often the same hint for an upstream is logged, at most.
	hintInterval = time.Minute

	// maxHints is how many hints the interval is kept for; dynamic sources may bring more
	// upstreams than that.
	maxHints = 1024
)

// diagnostician adds hints to failed attempts. It is asked when an attempt has failed
// only, and when a response has status 400.
type diagnostician struct {
	route  string
	logger *zap.Logger
	now    func() time.Time

	mu     sync.Mutex
	logged map[hintKey]time.Time
}

// hintKey is one cause at one upstream. Another cause is worth a line at once: that a
// certificate is refused, say, after a restart has reset connections.
type hintKey struct {
	dial  string
	cause diagnose.Cause
}

func newDiagnostician(route string, logger *zap.Logger) *diagnostician {
	return &diagnostician{route: route, logger: logger, now: time.Now}
}

// examine looks at the outcome of an attempt at an upstream, and returns the response as
// it is, and the error with a hint for what is known to cause it.
func (d *diagnostician) examine(b backend, res *http.Response, err error) (*http.Response, error) {
	if err == nil {
		if c := diagnose.OfRefusal(diagnose.Peek(res)); c != diagnose.Unknown {
			d.log(b, c, c.Hint(b.diagnosed(), nil), nil)
		}
		return res, nil
	}
	c := diagnose.Of(err)
	if c == diagnose.Unknown {
		return res, err
	}
	hint := c.Hint(b.diagnosed(), err)
	if hint == "" {
		return res, err
	}
	d.log(b, c, hint, err)
	return res, diagnose.WithHint(err, hint)
}

// log logs an upstream's hint, unless the same has been logged a short while ago.
func (d *diagnostician) log(b backend, c diagnose.Cause, hint string, err error) {
	if !d.isDue(hintKey{b.dial, c}) {
		return
	}
	fields := []zap.Field{zap.String("upstream", b.address.String()), zap.String("route", d.route), zap.String("hint", hint)}
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	d.logger.Warn("an upstream does not answer as it should", fields...)
}

func (d *diagnostician) isDue(key hintKey) bool {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, ok := d.logged[key]; ok && now.Sub(last) < hintInterval {
		return false
	}
	if d.logged == nil || len(d.logged) >= maxHints {
		d.logged = make(map[hintKey]time.Time)
	}
	d.logged[key] = now
	return true
}
