package proxyos

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// ServeHTTP decides which group a request goes to, and proxies it.
//
// It sets two placeholders, for later use in header_up, header_down, access logs and
// later handlers:
//
// Placeholder | Description
// ------------|------------
// `{http.proxyos.group}` | The group that served the request in the end: production or staging
// `{http.proxyos.route}` | The name of the route; empty if it has none
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	toStaging, err := h.decide(w, r)
	if err != nil {
		return err
	}
	j := newJourney(h, w, r, toStaging)
	defer func() { h.finish(j, err) }()
	return h.proxy.ServeHTTP(&j.answer, r.WithContext(context.WithValue(r.Context(), journeyKey{}, j)), next)
}

// decide tells whether a request is for staging. Retries keep the answer.
func (h *Handler) decide(w http.ResponseWriter, r *http.Request) (toStaging bool, err error) {
	if len(h.groups) < 2 {
		return false, nil
	}
	if forced, toStaging, err := h.forced.decide(r); forced || err != nil {
		return toStaging, err
	}
	if h.isNew && h.Name != "" && !h.app.hasSynced() {
		h.app.awaitOverrides()
	}
	if h.cohorts != nil {
		share := h.split.current()
		if position, ok := h.cohorts.position(w, r, share); ok {
			return share.covers(position), nil
		}
	}
	return h.split.toStaging(), nil
}

// journey is what one request carries through its attempts.
type journey struct {
	group               *group // where the next attempt goes
	tried               []*reverseproxy.Upstream
	failed              int                                  // how many of them are known to have failed
	strikes             int                                  // remembered against the last of them when it was picked
	first               [3]*reverseproxy.Upstream            // room for tried
	pools               map[*group]reverseproxy.UpstreamPool // from dynamic sources
	answer              statusRecorder
	repl                *caddy.Replacer
	started             time.Time
	toStaging, fellBack bool
	answered            bool // the last attempt was: an error after that is not the upstream's
}

func newJourney(h *Handler, w http.ResponseWriter, r *http.Request, toStaging bool) *journey {
	j := &journey{toStaging: toStaging, started: time.Now()}
	j.tried = j.first[:0]
	j.answer.ResponseWriter = w
	j.repl = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	j.repl.Set("http.proxyos.route", h.label)
	index := 0
	if toStaging {
		index = 1
	}
	j.goTo(h, index)
	return j
}

// goTo makes a group the one that answers for the request.
func (j *journey) goTo(h *Handler, index int) {
	j.group = h.groups[index]
	h.state.groups[index].inFlight.Add(1)
	j.repl.Set("http.proxyos.group", j.group.label)
}

// hasTried compares by address: a dynamic source names an upstream anew each time.
func (j *journey) hasTried(u *reverseproxy.Upstream) bool {
	return slices.ContainsFunc(j.tried, func(tried *reverseproxy.Upstream) bool { return tried.Dial == u.Dial })
}

// poolOf returns the upstreams of a group for this request: those of its dynamic source,
// or its configured ones where it has none or the source failed.
func (j *journey) poolOf(g *group) reverseproxy.UpstreamPool {
	if j.pools != nil {
		if pool, ok := j.pools[g]; ok {
			return pool
		}
	}
	return g.pool
}

type journeyKey struct{}

// journeyOf returns the journey of a request that a route has taken on, or nil.
func journeyOf(r *http.Request) *journey {
	j, _ := r.Context().Value(journeyKey{}).(*journey)
	return j
}

// mayFallBack tells whether the request is for staging and production may take it over.
func (h *Handler) mayFallBack(j *journey) bool {
	return j.toStaging && !j.fellBack && (h.StagingFallback == nil || *h.StagingFallback)
}

// fallBack hands a request that staging cannot serve to production.
func (h *Handler) fallBack(j *journey) {
	j.fellBack = true
	h.state.fallbacks.Add(1)
	h.state.groups[1].inFlight.Add(-1)
	j.goTo(h, 0)
}

// finish counts the request once it is answered, or has failed.
func (h *Handler) finish(j *journey, err error) {
	index := 0
	if j.toStaging && !j.fellBack {
		index = 1
	}
	status := j.status(err)
	if err != nil && !j.answered {
		h.countFailedAttempt(j)
	} else {
		h.settle(j, false, status)
	}
	elapsed := time.Since(j.started)
	state := &h.state.groups[index]
	state.inFlight.Add(-1)
	state.served(status, elapsed)
	if c := h.logger.Check(zapcore.DebugLevel, "request served"); c != nil {
		c.Write(zap.String("route", h.Name), zap.String("group", j.group.name), zap.Bool("fallback", j.fellBack),
			zap.Int("attempts", len(j.tried)), zap.Int("status", status), zap.Duration("duration", elapsed))
	}
}

// status returns the status that the client gets.
func (j *journey) status(err error) int {
	if j.answer.status != 0 {
		return j.answer.status
	}
	if err == nil {
		return http.StatusOK
	}
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		return handlerErr.StatusCode
	}
	return http.StatusInternalServerError
}

// countAttempt counts an attempt at one of the configured upstreams.
func (h *Handler) countAttempt(upstream *reverseproxy.Upstream) {
	if stats := h.stats[upstream]; stats != nil {
		stats.requests.Add(1)
	}
}

// countFailedAttempt is called when the last attempt of a request, if any, has failed.
func (h *Handler) countFailedAttempt(j *journey) {
	if len(j.tried) == j.failed {
		return
	}
	j.failed = len(j.tried)
	if stats := h.stats[j.tried[len(j.tried)-1]]; stats != nil {
		stats.errors.Add(1)
	}
	h.settle(j, true, 0)
}

// statusClientGone is what Caddy answers where the client has not waited for an answer.
const statusClientGone = 499

// settle draws the conclusion from the last attempt, if any: whether its upstream is to be
// trusted. Its failures are Caddy's to count; a status or latency may be one, too.
func (h *Handler) settle(j *journey, failed bool, status int) {
	if len(j.tried) == 0 {
		return
	}
	upstream, distrust := j.tried[len(j.tried)-1], &h.distrust
	switch {
	case upstream.Fails() > j.strikes && (!upstream.Healthy() || distrust.knows(upstream.Dial)):
		distrust.add(upstream.Dial, time.Now())
	case !distrust.any():
	case failed, status == statusClientGone:
		distrust.release(upstream.Dial)
	default:
		distrust.answered(upstream.Dial, status)
	}
}

// statusRecorder remembers the status of an answer.
type statusRecorder struct {
	caddyhttp.ResponseWriterWrapper
	status int
}

// WriteHeader implements http.ResponseWriter. Informational statuses are not the answer's,
// but for 101, which ends the exchange of headers.
func (s *statusRecorder) WriteHeader(status int) {
	if s.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}
