package proxyos

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
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
	judged              bool                                 // the transport has judged it
	uncounted           bool                                 // as a failure of the upstream, which is left to Caddy's passive check
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
	answered            int  // the status of the latest attempt's answer: an error after that is not the upstream's
	finished            bool // counted

	handed *handedAttempt // what the short way leaves to the reverse proxy; nil if it has not been tried
	short  bool           // it has answered

	asked, reused bool          // what is known of the latest attempt's connection; see evidence
	answering     atomic.Bool   // likewise; transports tell of it on goroutines of their own
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

// attempt picks the upstream for the next attempt, or nil if there is none. r is the
// reverse proxy's own copy of the request.
func (j *journey) attempt(r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	j.endAttempt(true, 0)
	switch {
	case !j.isUsedUp(r):
	case j.answered != 0: // which retry_match wants to have again
		_ = j.stop(j.answered, errBodyUsedUp)
	case j.failure != nil:
		_ = j.stop(failureStatus(j.failure), j.failure)
	}
	isRetry := len(j.tried) > 0
	if isRetry && j.outcome == nil && !j.route.budget.take() {
		j.giveUp()
	}
	if j.outcome != nil {
		return j.tried[len(j.tried)-1] // which the transport does not ask again
	}
	upstream := j.next(r, w)
	if upstream == nil {
		if isRetry {
			j.route.budget.giveBack()
		}
		return nil
	}
	j.tried, j.strikes = append(j.tried, upstream), upstream.Fails()
	j.target, j.judged, j.answered = j.group.targetOf(upstream), false, 0
	j.asked, j.reused, j.uncounted = false, false, false
	j.answering.Store(false)
	if counts := j.target.counts; counts != nil {
		counts.requests.Add(1)
		counts.inFlight.Add(1)
	}
	return upstream
}

// giveUp ends the journey of a request that is not sent again since too many others are.
func (j *journey) giveUp() {
	j.route.state.unretried.Add(1)
	switch {
	case j.answered != 0: // which retry_match wants to have again
		_ = j.stop(j.answered, errBudgetUsedUp)
	case j.failure != nil:
		_ = j.stop(failureStatus(j.failure), errors.Join(j.failure, errBudgetUsedUp))
	default: // of a transport that is not ours
		_ = j.stop(http.StatusBadGateway, errBudgetUsedUp)
	}
}

// watch has what the attempt's connection is reported to the journey. The trace is the
// reverse proxy's own, one for each attempt.
func (j *journey) watch(req *http.Request) {
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
		trace.GetConn = func(string) { j.asked = true }
		trace.GotConn = func(info httptrace.GotConnInfo) { j.reused = info.Reused }
		trace.GotFirstResponseByte = func() { j.answering.Store(true) }
	}
}

// openBody gives an attempt the request's body, from its beginning. body is the one that
// the reverse proxy has for the attempt.
func (j *journey) openBody(req *http.Request, body io.ReadCloser) error {
	if err := j.body.err(); err != nil {
		return err // the reverse proxy buffered the body, as far as it came
	}
	if body == nil || body == http.NoBody {
		return nil
	}
	if j.kept == nil || j.kept.source != body { // a body that it buffered is another for each attempt
		if j.kept != nil {
			j.kept.release()
		}
		j.kept = keepBody(req, body, &j.route.keptInAll)
		if mightRepeat(req, j.route.proxy.LoadBalancing) {
			j.kept.limit = j.route.retryBuffer
		}
	}
	if j.kept.lost.Load() {
		return errBodyUsedUp
	}
	req.Trailer = maps.Clone(j.kept.announced)
	req.Body = j.kept.open(req.Trailer)
	j.opened, j.waitedBefore = time.Now(), j.body.waiting()
	if j.kept.limit > 0 {
		kept, trailer := j.kept, req.Trailer
		req.GetBody = func() (io.ReadCloser, error) {
			if kept.lost.Load() {
				return nil, errBodyUsedUp
			}
			return kept.open(trailer), nil
		}
	}
	return nil
}

// isUsedUp tells whether another attempt could not send the whole body of r, the reverse
// proxy's own copy of the request.
func (j *journey) isUsedUp(r *http.Request) bool {
	return j.kept != nil && j.kept.source == r.Body && j.kept.lost.Load()
}

// evidence is what is known of the latest attempt.
func (j *journey) evidence(req *http.Request) evidence {
	return evidence{context: req.Context(), body: j.body.err(), slow: j.isSlow(), asked: j.asked, reused: j.reused, answering: j.answering.Load()}
}

// isSlow tells whether most of the latest attempt was waiting for the client's body, to the
// end.
func (j *journey) isSlow() bool {
	if j.opened.IsZero() || !j.body.isComing() {
		return false
	}
	waited := j.body.waiting() - j.waitedBefore
	return waited >= slowBody && waited > time.Since(j.opened)/2
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

// endAttempt draws the conclusion from the latest attempt, if there was any and it is not
// over yet.
func (j *journey) endAttempt(failed bool, status int) {
	if len(j.tried) == j.ended {
		return
	}
	j.ended = len(j.tried)
	upstream, breaker, counts := j.tried[j.ended-1], j.route.breaker, j.target.counts
	if counts != nil {
		counts.inFlight.Add(-1)
	}
	if failed && !j.judged && counts != nil {
		counts.errors.Add(1) // over a transport that is not ours
		j.target.measures.failed(nil)
	}
	if !j.judged {
		j.route.latencies.readOff(j.repl, upstream, failed, status)
	}
	switch {
	case upstream.Fails() > j.strikes && (!upstream.Healthy() || breaker.of(upstream.Dial) != nil):
		breaker.failed(upstream.Dial, 0) // counted by Caddy's passive check, as a status or latency may be, too
	case j.uncounted: // nor does Caddy's passive check count it
		breaker.abandoned(upstream.Dial)
	case j.judged, breaker.isClosed():
	case failed, status == statusClientGone:
		breaker.abandoned(upstream.Dial)
	default:
		breaker.succeeded(upstream.Dial, status, j.group.ejector != nil)
	}
}

// finish counts the request once it is answered, or has failed, or is handed on to other
// handlers.
func (j *journey) finish(err error) {
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
func (j *journey) handOn() {
	if j.answer.status == 0 {
		j.answer.status = j.answered
	}
	j.finish(nil)
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
