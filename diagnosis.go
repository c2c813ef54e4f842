package proxyos

import (
	"context"
	"errors"
	"fmt"
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

// explain returns the error of an attempt at an upstream, with a hint for what is known to
// cause it.
func (d *diagnostician) explain(b backend, err error) error {
	c := diagnose.Of(err)
	if c == diagnose.Unknown {
		if !errors.Is(err, context.Canceled) {
			d.log(b, c, "", err)
		}
		return err
	}
	return d.hint(b, c, c.Hint(b.diagnosed(), err), err)
}

// explainStale is explain for a connection that ended while it was idle.
func (d *diagnostician) explainStale(b backend, err error) error {
	return d.hint(b, diagnose.Stale, diagnose.Stale.Hint(b.diagnosed(), err), err)
}

func (d *diagnostician) hint(b backend, c diagnose.Cause, hint string, err error) error {
	if hint == "" {
		return err
	}
	d.log(b, c, hint, err)
	return diagnose.WithHint(err, hint)
}

// examine logs a hint for a response that says that the request came the wrong way. It
// leaves the response as it is.
func (d *diagnostician) examine(b backend, res *http.Response) {
	if c := diagnose.OfRefusal(diagnose.Peek(res)); c != diagnose.Unknown {
		d.log(b, c, c.Hint(b.diagnosed(), nil), nil)
	}
}

// contradicts logs that a request was not sent, since its upstream means something else than
// another one of the same address.
func (d *diagnostician) contradicts(b backend, err error) {
	if d.isDue(hintKey{b.dial, "contradiction"}) {
		d.logger.Error("a request was not sent, since its upstream contradicts another one", zap.String("route", d.route), zap.Error(err))
	}
}

// log logs an upstream's hint, unless the same has been logged a short while ago.
func (d *diagnostician) log(b backend, c diagnose.Cause, hint string, err error) {
	if !d.isDue(hintKey{b.dial, c}) {
		return
	}
	fields := []zap.Field{zap.String("upstream", b.address.String()), zap.String("route", d.route)}
	if hint != "" {
		fields = append(fields, zap.String("hint", hint))
	}
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	d.logger.Warn("an upstream does not answer as it should", fields...)
}

// nobody adds a hint to the error that a group had no upstream for a request.
func (d *diagnostician) nobody(g *group, err error) error {
	hint := g.whyNobody()
	if d.isDue(hintKey{g.name, "no_upstream"}) {
		d.logger.Warn("no upstream could take a request", zap.String("route", d.route), zap.String("group", g.name),
			zap.Error(err), zap.String("hint", hint))
	}
	return diagnose.WithHint(err, hint)
}

// whyNobody says why no upstream of the group took a request, and what to do.
func (g *group) whyNobody() string {
	full, down, drained := 0, 0, 0
	for _, t := range g.targets {
		switch {
		case t.isDrained():
			drained++
		case t.upstream.Full():
			full++
		case t.unhealthy.Load():
			down++
		}
	}
	switch all := len(g.targets); {
	case all == 0:
		return "its dynamic source names no upstream; check the source"
	case drained == all:
		return "all its upstreams are drained; `caddy proxyos show` says by whom, and `caddy proxyos ready` has one serve again"
	case drained > 0 && full+down == 0:
		return fmt.Sprintf("%d of its %d upstreams are drained; `caddy proxyos ready` has one serve again", drained, all)
	case full == 0 && down > 0:
		return "its upstreams fail their active health checks; check the services, and what the checks ask for"
	case full == 0:
		return "its policy chose none; check its weights and its policy"
	case down > 0:
		return fmt.Sprintf("%d of its %d upstreams have reached their max_requests, and the others fail their active health checks; raise max_requests, or add upstreams", full, all)
	}
	return "all its upstreams have reached their max_requests; raise it, or add upstreams"
}

// warnPlaceholders warns of upstreams whose placeholders have no value, or one that Caddy cannot
// connect to. Caddy would take an empty host for localhost, without a word.
func (r *route) warnPlaceholders() {
	for _, g := range r.groups {
		for _, t := range g.targets {
			b := t.backend
			cause, err := diagnose.EmptyPlaceholder, diagnose.FindEmptyPlaceholder(b.address)
			if err == nil {
				cause, err = diagnose.SchemeInValue, diagnose.FindSchemeInValue(b.address)
			}
			if err != nil {
				r.logger.Warn("a placeholder of an upstream has no usable value", zap.String("upstream", b.address.String()),
					zap.String("route", r.title), zap.String("hint", cause.Hint(b.diagnosed(), err)))
			}
		}
	}
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
