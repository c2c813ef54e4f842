package proxyos

import (
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

// journey is one request on its way through its attempts. It travels in the request's
// context.
type journey struct {
	route               *route
	group               *group  // where the next attempt goes
	target              *target // of the latest attempt
	tried               []*reverseproxy.Upstream
	failed              int                                  // how many of them are known to have failed
	strikes             int                                  // remembered against the last of them when it was picked
	first               [3]*reverseproxy.Upstream            // room for tried
	pools               map[*group]reverseproxy.UpstreamPool // from dynamic sources
	answer              statusRecorder
	repl                *caddy.Replacer
	started             time.Time
	toStaging, fellBack bool
	answered            bool // the latest attempt was: an error after that is not the upstream's
}

type journeyKey struct{}

// journeyOf returns the journey of a request that a route has taken on, or nil.
func journeyOf(r *http.Request) *journey {
	j, _ := r.Context().Value(journeyKey{}).(*journey)
	return j
}

func newJourney(route *route, w http.ResponseWriter, r *http.Request, toStaging bool) *journey {
	j := &journey{route: route, toStaging: toStaging, started: time.Now()}
	j.tried = j.first[:0]
	j.answer.ResponseWriter = w
	j.repl = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	j.repl.Set("http.proxyos.route", route.label)
	j.group = route.production
	if toStaging {
		j.group = route.staging
	}
	j.enter()
	return j
}

// enter makes the journey's group the one that answers for the request.
func (j *journey) enter() {
	j.group.state.inFlight.Add(1)
	j.repl.Set("http.proxyos.group", j.group.label)
}

// attempt picks the upstream for the next attempt, or nil if there is none. r is the
// reverse proxy's own copy of the request.
func (j *journey) attempt(r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	j.attemptFailed()
	upstream := j.next(r, w)
	if upstream == nil {
		return nil
	}
	j.tried, j.strikes = append(j.tried, upstream), upstream.Fails()
	j.target = j.group.targetOf(upstream)
	if counts := j.target.counts; counts != nil {
		counts.requests.Add(1)
	}
	return upstream
}

// next picks an upstream, first in the request's group, then, for staging, in production.
func (j *journey) next(r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if retries := j.route.retries; retries > 0 && len(j.tried) == retries && j.mayFallBack() {
		j.fallBack() // the last attempt is for production
	}
	if upstream := j.group.pick(j, r, w); upstream != nil {
		return upstream
	}
	if j.mayFallBack() {
		j.fallBack()
		if upstream := j.group.pick(j, r, w); upstream != nil {
			return upstream
		}
	}
	return j.group.lastResort(j, r, w)
}

// mayFallBack tells whether the request is for staging and production may take it over.
func (j *journey) mayFallBack() bool { return j.toStaging && !j.fellBack && j.route.fallback }

// fallBack hands a request that staging cannot serve to production.
func (j *journey) fallBack() {
	j.fellBack = true
	j.route.state.fallbacks.Add(1)
	j.group.state.inFlight.Add(-1)
	j.group = j.route.production
	j.enter()
}

// hasTried compares by address: a dynamic source makes a new upstream each time.
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

// attemptFailed is called when the latest attempt, if there was any, has failed.
func (j *journey) attemptFailed() {
	if len(j.tried) == j.failed {
		return
	}
	j.failed = len(j.tried)
	if counts := j.target.counts; counts != nil {
		counts.errors.Add(1)
	}
	j.judge(true, 0)
}

// statusClientGone is what Caddy answers where the client has not waited for an answer.
const statusClientGone = 499

// judge draws the conclusion from the latest attempt, if there was any: whether its
// upstream is to be avoided. Its failures are Caddy's to count; a status or latency may be
// one, too.
func (j *journey) judge(failed bool, status int) {
	if len(j.tried) == 0 {
		return
	}
	upstream, breaker := j.tried[len(j.tried)-1], j.route.breaker
	switch {
	case upstream.Fails() > j.strikes && (!upstream.Healthy() || breaker.of(upstream.Dial) != nil):
		breaker.failed(upstream.Dial, 0)
	case breaker.isClosed():
	case failed, status == statusClientGone:
		breaker.abandoned(upstream.Dial)
	default:
		breaker.succeeded(upstream.Dial, status)
	}
}

// finish counts the request once it is answered, or has failed.
func (j *journey) finish(err error) {
	status := j.status(err)
	if err != nil && !j.answered {
		j.attemptFailed()
	} else {
		j.judge(false, status)
	}
	elapsed := time.Since(j.started)
	state := j.group.state
	state.inFlight.Add(-1)
	state.served(status, elapsed)
	if c := j.route.logger.Check(zapcore.DebugLevel, "request served"); c != nil {
		c.Write(zap.String("route", j.route.name), zap.String("group", j.group.name), zap.Bool("fallback", j.fellBack),
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
