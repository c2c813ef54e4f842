package proxyos

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
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
	tried               tried
	ended               int                                  // how many of them are over
	strikes             int                                  // remembered against the last of them when it was picked
	first               [3]*reverseproxy.Upstream            // room for tried
	pools               map[*group]reverseproxy.UpstreamPool // from dynamic sources
	body                clientBody
	kept                *keptBody // the body as attempts read it; nil if there is none
	failure             error     // of the latest attempt, where its upstream is to blame
	answer              answerWriter
	outcome             error // what the client is told where no upstream is to blame; nil: what the reverse proxy says
	repl                *caddy.Replacer
	started             time.Time
	toStaging, fellBack bool
	finished            bool // counted
	short               bool // the short way has answered
	answered            int  // the status of the latest attempt's answer: an error after that is not the upstream's

	handed *handedAttempt // what the short way leaves to the reverse proxy; nil if it has not been tried

	judged        bool          // the transport has judged the latest attempt
	uncounted     bool          // as a failure of the upstream, which is left to Caddy's passive check
	asked, reused bool          // what is known of its connection; see evidence
	conn          net.Conn      // the latest attempt's; nil if its transport does not tell
	answering     atomic.Bool   // likewise as asked; transports tell of it on goroutines of their own
	closedAt      atomic.Int64  // when its transport closed the body while it read it, in Unix nanoseconds; 0 if it has not
	opened        time.Time     // when the latest attempt was given the body
	waitedBefore  time.Duration // for the body until then
}

type journeyKey struct{}

// journeyOf returns the journey of a request that a route has taken on, or nil.
func journeyOf(r *http.Request) *journey {
	j, _ := r.Context().Value(journeyKey{}).(*journey)
	return j
}

// begin begins the journey of a request.
func (j *journey) begin(route *route, w http.ResponseWriter, r *http.Request, d decision) {
	j.route, j.toStaging, j.started = route, d.toStaging, time.Now()
	j.tried = j.first[:0]
	j.answer.ResponseWriter, j.answer.cookie = w, d.cookie
	j.answer.reckoning.begin(d, r.Method)
	j.answer.cacheable = d.cookie != "" && route.cohorts.sticky.Cacheable
	j.repl = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	j.repl.Set("http.proxyos.route", route.label)
	j.group = route.production
	if d.toStaging {
		j.group = route.staging
	}
	j.enter()
}

// enter makes the journey's group the one that answers for the request.
func (j *journey) enter() {
	j.group.state.inFlight.Add(1)
	j.repl.Set("http.proxyos.group", j.group.label)
}

// stop ends the journey: the client gets a status, and no upstream is asked again.
func (j *journey) stop(status int, err error) error {
	if status != statusClientGone {
		j.outcome, j.answer.withheld = caddyhttp.Error(status, err), true
	}
	return stopError{err}
}

// next picks an upstream, first in the request's group, then, for staging, in production.
func (j *journey) next(r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if retries := j.route.retries; retries > 0 && len(j.tried) == retries && j.mayFallBack() {
		j.fallBack() // the last attempt is for production
	}
	if upstream := j.group.pick(j.seatsOf(j.group), j.tried, r, w); upstream != nil {
		return upstream
	}
	if j.mayFallBack() {
		j.fallBack()
		if upstream := j.group.pick(j.seatsOf(j.group), j.tried, r, w); upstream != nil {
			return upstream
		}
	}
	return j.group.lastResort(j.seatsOf(j.group), j.tried, r, w)
}

// mayFallBack tells whether the request is for staging and production may take it over.
func (j *journey) mayFallBack() bool { return j.toStaging && !j.fellBack && j.route.fallback }

// fallBack hands a request that staging cannot serve to production.
func (j *journey) fallBack() {
	j.fellBack = true
	j.answer.reckoning.failed = true
	j.route.state.fallbacks.Add(1)
	j.group.state.inFlight.Add(-1)
	j.group = j.route.production
	j.enter()
}

// seatsOf returns who may be chosen in a group for this request: the upstreams of its dynamic
// source, or the configured ones where it has none or the source failed.
func (j *journey) seatsOf(g *group) seats {
	s := *g.seated.Load()
	if j.pools != nil {
		if pool, ok := j.pools[g]; ok {
			s.pool, s.policy = pool, g.policy
		}
	}
	return s
}

// finish counts the request once it is answered, or has failed, or is handed on to other
// handlers. ctx is the client's.
func (j *journey) finish(ctx context.Context, err error) {
	if j.finished {
		return
	}
	j.finished = true
	status := j.status(err)
	j.endAttempt(err != nil && j.answered == 0, status)
	if j.kept != nil {
		j.kept.release()
	}
	elapsed := time.Since(j.started)
	if j.body.err() != nil {
		j.answer.reckoning.excused = true
	}
	j.answer.reckoning.end(ctx, status, err == nil && j.answer.status != 0, elapsed)
	state := j.group.state
	state.inFlight.Add(-1)
	state.served(status, elapsed)
	if j.short {
		j.route.state.short.Add(1)
	} else {
		j.route.state.full.Add(1)
	}
	if c := j.route.logger.Check(zapcore.DebugLevel, "request served"); c != nil {
		c.Write(zap.String("route", j.route.title), zap.String("group", j.group.name), zap.Bool("fallback", j.fellBack),
			zap.Int("attempts", len(j.tried)), zap.Int("status", status), zap.Duration("duration", elapsed))
	}
}

// setDuration tells how long the request has taken.
func (j *journey) setDuration() {
	took := time.Since(j.started)
	j.repl.Set("http.reverse_proxy.duration", took)
	j.repl.Set("http.reverse_proxy.duration_ms", milliseconds(took))
}

// handOn is called when a handle_response route hands the request on to later handlers, with
// whose answer the route has nothing to do.
func (j *journey) handOn(ctx context.Context) {
	if j.answer.status == 0 {
		j.answer.status = j.answered
	}
	j.answer.reckoning.isBack = true
	j.finish(ctx, nil)
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

// outcomeOf returns what the client is told where the reverse proxy has ended with err.
func (j *journey) outcomeOf(err error) error {
	j.answer.reckoning.isBack = true
	if err == nil {
		return j.outcome
	}
	// for whoever answers instead
	j.answer.setCookie()
	if failure, ok := err.(caddyhttp.HandlerError); ok && len(j.tried) == 0 && failure.StatusCode == http.StatusServiceUnavailable && j.route.transport != nil { //nolint:errorlint // as reverse_proxy returns it
		failure.Err = j.route.transport.failures.nobody(j.group, failure.Err)
		return failure
	}
	if failure, ok := err.(caddyhttp.HandlerError); ok && j.target != nil && !j.judged && j.route.transport != nil { //nolint:errorlint // as reverse_proxy returns it
		failure.Err = j.route.transport.failures.explain(j.target.backend, failure.Err) // the address it would have been sent to
		return failure
	}
	return err
}
