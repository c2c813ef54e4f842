package proxyos

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/turns"
)

// lineup is the order of turns of those upstreams of a group that were up when it was made. So
// requests need not walk past those that are down.
type lineup struct {
	order  turns.Order               // of all that have turns if nobody was up
	down   reverseproxy.UpstreamPool // those left out whose return nobody tells of: each turn looks at one
	looks  turns.Order               // the order in which they are looked at; zero if there are none
	known  *circuits                 // what the breaker knew
	unsure bool                      // each has to be asked: somebody is on trial, or nobody was up
	nobody bool                      // was up
	until  time.Time                 // when it is over: somebody goes on trial, or is warm; zero if that is not known

	warming map[*reverseproxy.Upstream]*warmUp // who passes on some of its turns; nil if nobody does
	others  turns.Order                        // who gets those
}

// isSure tells whether the breaker knows nothing against those in the lineup.
func (l *lineup) isSure(b *breaker) bool { return l.known == b.known.Load() && !l.unsure }

// isStale tells whether a new lineup is needed, as the one whose turn it is shows.
func (l *lineup) isStale(b *breaker, upstream *reverseproxy.Upstream, turn uint64) bool {
	return l.known != b.known.Load() || !l.nobody && !upstream.Healthy() || l.isBack(turn)
}

// isBack tells whether somebody who was left out is back. Each turn looks at one of them.
func (l *lineup) isBack(turn uint64) bool {
	return len(l.down) > 0 && l.down[l.looks.At(turn)].Healthy()
}

// lineups keeps the lineup that is in force.
type lineups struct {
	current  atomic.Pointer[lineup]
	renewing atomic.Bool
	mu       sync.Mutex  // held to replace it
	timer    *time.Timer // to renew it when it is over; nil if that is not known
	closed   bool
}

// quickLineup is how many turns a lineup has at most that is made in no time: some microseconds.
const quickLineup = 100

// renewalPause is how long, as a multiple of the time that making a larger lineup took, the next one
// has to wait that requests ask for. Thousands of upstreams of unequal weights take milliseconds.
const renewalPause = 10

// renew has a new lineup made, and returns the one to go by: the new one if that takes no time.
// Else it is made off the request's way, and the caller asks again if it is still needed then.
func (s *lineups) renew(t *turnPolicy, g *group) *lineup {
	if !s.renewing.CompareAndSwap(false, true) {
		return s.current.Load()
	}
	if t.order.Len() <= quickLineup {
		defer s.renewing.Store(false)
		s.replace(t, g)
		return s.current.Load()
	}
	go func() {
		defer s.renewing.Store(false)
		began := time.Now()
		s.replace(t, g)
		if took := time.Since(began); took > time.Millisecond {
			time.Sleep(renewalPause * took)
		}
	}()
	return s.current.Load()
}

// replace puts a new lineup in force.
func (s *lineups) replace(t *turnPolicy, g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := newLineup(t, g)
	s.current.Store(next)
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if !next.until.IsZero() && !s.closed {
		s.timer = time.AfterFunc(time.Until(next.until), func() { s.replace(t, g) })
	}
}

// close has no lineup made any more by the clock.
func (s *lineups) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// newLineup looks who is up.
func newLineup(t *turnPolicy, g *group) *lineup {
	l := &lineup{known: g.breaker.known.Load()} // before anything that it decides about
	now := time.Now()
	var places []int // in the pool
	for i, upstream := range t.pool {
		if t.weights[i] == 0 {
			continue
		}
		c := l.known.of(upstream.Dial)
		switch {
		case !upstream.Healthy():
			l.down = append(l.down, upstream)
		case c != nil && now.Before(c.until):
			l.endBy(c.until)
		default:
			places = append(places, i)
			l.unsure = l.unsure || c != nil
			g.warmUps.see(upstream, c != nil, now)
			continue
		}
		g.warmUps.see(upstream, true, now)
	}
	if len(l.down) > 0 {
		l.looks = turns.NewOrder(nil, len(l.down))
	}
	switch len(places) {
	case 0:
		l.order, l.nobody, l.unsure = t.order, true, true
		return l
	case len(t.pool):
		l.order = t.order
	default:
		l.order = t.orderAmong(places)
	}
	l.warmUp(t, g, places, now)
	return l
}

// warmUp has those pass on some of their turns that are warming up.
func (l *lineup) warmUp(t *turnPolicy, g *group, places []int, now time.Time) {
	if g.warmUps == nil {
		return
	}
	var up reverseproxy.UpstreamPool
	for _, i := range places {
		up = append(up, t.pool[i])
	}
	warming, until := g.warmUps.among(up, now)
	if warming == nil {
		return
	}
	others := slices.DeleteFunc(slices.Clone(places), func(i int) bool { return warming[t.pool[i]] != nil })
	if len(others) == 0 {
		return
	}
	l.warming, l.others = warming, t.orderAmong(others)
	l.endBy(until)
}

// endBy has the lineup end at a time at the latest.
func (l *lineup) endBy(end time.Time) {
	if l.until.IsZero() || end.Before(l.until) {
		l.until = end
	}
}
