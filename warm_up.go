package proxyos

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// warmUps is who of a group's upstreams has come back a short while ago and gets more and more of
// its turns, where slow_start is configured. Nil where it is not: then it does nothing.
type warmUps struct {
	period time.Duration

	mu      sync.Mutex
	warming map[*reverseproxy.Upstream]*warmUp
	out     map[*reverseproxy.Upstream]bool // who was out when it was last looked at
}

func newWarmUps(period time.Duration) *warmUps {
	if period == 0 {
		return nil
	}
	return &warmUps{period: period, warming: make(map[*reverseproxy.Upstream]*warmUp), out: make(map[*reverseproxy.Upstream]bool)}
}

// begin has an upstream warm up from now on.
func (w *warmUps) begin(upstream *reverseproxy.Upstream) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warming[upstream] = newWarmUp(time.Now(), w.period)
}

// see notes whether an upstream is out at the moment. One that is back begins to warm up.
func (w *warmUps) see(upstream *reverseproxy.Upstream, isOut bool, now time.Time) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out[upstream] && !isOut {
		w.warming[upstream] = newWarmUp(now, w.period)
	}
	w.out[upstream] = isOut
}

// among returns those of some upstreams that are warming up, and until when that stays so. Somebody
// has to do the work: where nobody is warm, those count as warm that came back first.
func (w *warmUps) among(upstreams reverseproxy.UpstreamPool, now time.Time) (warming map[*reverseproxy.Upstream]*warmUp, until time.Time) {
	if w == nil {
		return nil, until
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var first *warmUp // the one that came back first
	isCold := true    // nobody is warm
	for _, upstream := range upstreams {
		one := w.warming[upstream]
		if one != nil && one.share(now) == 1 {
			delete(w.warming, upstream)
			one = nil
		}
		switch {
		case one == nil:
			isCold = false
		case first == nil || one.began.Before(first.began):
			first = one
		}
	}
	for _, upstream := range upstreams {
		one := w.warming[upstream]
		if one == nil || isCold && (one == first || one.began.Sub(first.began) < w.period/10) {
			continue
		}
		if warming == nil {
			warming = make(map[*reverseproxy.Upstream]*warmUp)
		}
		warming[upstream] = one
		if end := one.began.Add(w.period); until.IsZero() || end.Before(until) {
			until = end
		}
	}
	return warming, until
}

// shareOf returns the share of its turns that an upstream gets.
func (w *warmUps) shareOf(upstream *reverseproxy.Upstream, now time.Time) float64 {
	if w == nil {
		return 1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.warming[upstream]; one != nil {
		return one.share(now)
	}
	return 1
}

// warmUp is the warming up of one upstream: it takes some of its turns, evenly spread, and passes
// on the others.
type warmUp struct {
	began  time.Time
	period time.Duration
	phase  atomic.Uint64 // as the splitter's
}

func newWarmUp(began time.Time, period time.Duration) *warmUp {
	w := &warmUp{began: began, period: period}
	w.phase.Store(halfway)
	return w
}

// leastWarm is the share of its turns that an upstream gets at first.
const leastWarm = 0.1

// share returns the share of its turns that the upstream gets.
func (w *warmUp) share(now time.Time) float64 {
	return min(1, max(leastWarm, float64(now.Sub(w.began))/float64(w.period)))
}

// takes tells whether the upstream takes its turn.
func (w *warmUp) takes(now time.Time) bool {
	share := w.share(now)
	if share == 1 {
		return true
	}
	step := uint64(share * (1 << 64))
	return w.phase.Add(step) < step
}
