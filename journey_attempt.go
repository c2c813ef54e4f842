package proxyos

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

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
	if isRetry && !j.judged { // over a transport that is not ours
		j.answer.reckoning.failed = true
	}
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
	if isRetry {
		j.route.state.retries.Add(1)
	}
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
		trace.GotConn = func(info httptrace.GotConnInfo) { j.reused, j.conn = info.Reused, info.Conn }
		trace.GotFirstResponseByte = func() { j.answering.Store(true) }
	}
}

// openBody gives an attempt the request's body, from its beginning. body is the one that
// the reverse proxy has for the attempt.
func (j *journey) openBody(req *http.Request, body io.ReadCloser, trip *silentTrip) error {
	if err := j.body.err(); err != nil {
		return err // the reverse proxy buffered the body, as far as it came
	}
	switch {
	case body == nil && req.ContentLength != 0:
		return errBodyOther
	case body == nil, body == http.NoBody:
		return nil
	}
	if j.kept == nil || j.kept.source != body { // a body that it buffered is another for each attempt
		if j.kept != nil {
			j.kept.release()
		}
		j.kept = keepBody(req, body, &j.body, &j.route.keptInAll)
		if j.body.trailer != nil && !j.body.buffered { // not by way of what completes the request's trailer
			j.kept.from, j.kept.trailer = &j.body, j.body.trailer
		}
		if mightRepeat(req, j.route.proxy.LoadBalancing) {
			j.kept.limit = j.route.retryBuffer
		}
	}
	if j.kept.lost.Load() {
		return errBodyUsedUp
	}
	req.Trailer = maps.Clone(j.kept.announced)
	req.Body = j.kept.open(req.Trailer, trip)
	j.opened, j.waitedBefore = time.Now(), j.body.waiting()
	j.closedAt.Store(0)
	if j.kept.limit > 0 {
		kept, trailer := j.kept, req.Trailer
		req.GetBody = func() (io.ReadCloser, error) {
			if kept.lost.Load() {
				return nil, errBodyUsedUp
			}
			return kept.open(trailer, trip), nil
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
	waited, took := j.body.waiting()-j.waitedBefore, time.Since(j.opened)
	if closedAt := j.closedAt.Load(); closedAt != 0 { // what came then is not for the client to answer for
		since := time.Since(time.Unix(0, closedAt))
		waited, took = waited-since, took-since
	}
	return waited >= slowBody && waited > took/2
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
