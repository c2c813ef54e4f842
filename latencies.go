package proxyos

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// latencies are what remembers how long the upstreams of a handler take to answer: for the policy
// least_latency of each group, also as another policy's fallback. Nearly always there is none.
type latencies []*answerTimes

// stopwatch measures one attempt, if anybody wants to know.
type stopwatch struct {
	to     latencies
	began  time.Time
	body   *clientBody   // nil if there is none
	waited time.Duration // for the body, before
}

// start begins to measure an attempt, which may read the client's body.
func (l latencies) start(body *clientBody) stopwatch {
	if len(l) == 0 {
		return stopwatch{}
	}
	s := stopwatch{to: l, began: time.Now(), body: body}
	if body != nil {
		s.waited = body.waiting()
	}
	return s
}

// took returns how long the attempt has taken, without waiting for the client's body.
func (s *stopwatch) took() time.Duration {
	took := time.Since(s.began)
	if s.body != nil {
		took -= s.body.waiting() - s.waited
	}
	return took
}

// answered is called when the header of an answer is there.
func (s *stopwatch) answered(upstream *reverseproxy.Upstream, status int) {
	for _, times := range s.to {
		times.answered(upstream, status, s.took())
	}
}

// failed is called when the attempt has failed instead.
func (s *stopwatch) failed(upstream *reverseproxy.Upstream, whose fault, status int) {
	for _, times := range s.to {
		switch {
		case whose == upstreamFault:
			times.failed(upstream, s.took())
		case whose == clientFault && status == statusClientGone:
			times.givenUp(upstream, s.took())
		default:
			times.untold(upstream)
		}
	}
}

// readOff is for attempts over a transport that is not ours: it reads how long the header of
// the answer took from reverse_proxy's placeholder.
func (l latencies) readOff(repl *caddy.Replacer, upstream *reverseproxy.Upstream, failed bool, status int) {
	for _, times := range l {
		if failed {
			times.failed(upstream, 0)
			continue
		}
		value, _ := repl.Get("http.reverse_proxy.upstream.latency")
		if took, ok := value.(time.Duration); ok && status != statusClientGone {
			times.answered(upstream, status, took)
		} else {
			times.untold(upstream)
		}
	}
}
