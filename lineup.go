package proxyos

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/turns"
)

// lineup is the order of turns of those upstreams of a group that were up when it was made. So
// requests need not walk past those that are down.
type lineup struct {
	order   turns.Order               // of all that have turns if nobody was up
	down    reverseproxy.UpstreamPool // those left out whose return nobody tells of: each turn looks at one
	looks   turns.Order               // the order in which they are looked at; zero if there are none
	known   *circuits                 // what the breaker knew
	unsure  bool                      // each has to be asked: somebody is on trial, or nobody was up
	nobody  bool                      // was up
	reopens time.Time                 // when the first of those left out goes on trial; zero if none does
}

// isSure tells whether the breaker knows nothing against those in the lineup.
func (l *lineup) isSure(b *breaker) bool { return l.known == b.known.Load() && !l.unsure }

// isStale tells whether a turn has shown that a new lineup is needed: whose turn it was, and
// who took it.
func (l *lineup) isStale(b *breaker, turn, taker *reverseproxy.Upstream) bool {
	switch {
	case l.known != b.known.Load():
		return true
	case l.nobody:
		return taker != nil
	}
	return !turn.Healthy()
}

// lineups keeps the lineup that is in force.
type lineups struct {
	current  atomic.Pointer[lineup]
	renewing atomic.Bool
	mu       sync.Mutex  // held to replace it
	timer    *time.Timer // to renew it when somebody goes on trial; nil if nobody will
	closed   bool
}

// renewalPause is how long, as a multiple of the time that making a lineup took, the next one has
// to wait that requests ask for. Thousands of upstreams of unequal weights take milliseconds.
const renewalPause = 10

// renew has a new lineup made, off the request's way. The caller asks again if it should still
// be needed after that.
func (s *lineups) renew(t *turnPolicy, g *group) {
	if !s.renewing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		began := time.Now()
		s.replace(t, g)
		if took := time.Since(began); took > time.Millisecond {
			time.Sleep(renewalPause * took)
		}
		s.renewing.Store(false)
	}()
}

// replace puts a new lineup in force.
func (s *lineups) replace(t *turnPolicy, g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := newLineup(t, g.breaker)
	s.current.Store(next)
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if !next.reopens.IsZero() && !s.closed {
		s.timer = time.AfterFunc(time.Until(next.reopens), func() { s.replace(t, g) })
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
func newLineup(t *turnPolicy, b *breaker) *lineup {
	l := &lineup{known: b.known.Load()} // before anything that it decides about
	now := time.Now()
	var places []uint32 // in the pool
	var weights []int
	for i, upstream := range t.pool {
		if t.weights[i] == 0 {
			continue
		}
		if !upstream.Healthy() {
			l.down = append(l.down, upstream)
			continue
		}
		if c := l.known.of(upstream.Dial); c != nil {
			if now.Before(c.until) {
				if l.reopens.IsZero() || c.until.Before(l.reopens) {
					l.reopens = c.until
				}
				continue
			}
			l.unsure = true
		}
		places, weights = append(places, uint32(i)), append(weights, t.weights[i])
	}
	if len(l.down) > 0 {
		l.looks = turns.NewOrder(nil, len(l.down))
	}
	switch len(places) {
	case 0:
		l.order, l.nobody, l.unsure = t.order, true, true
	case len(t.pool):
		l.order = t.order
	default:
		schedule := turns.Schedule(weights)
		for i, turn := range schedule {
			schedule[i] = places[turn]
		}
		l.order = turns.NewOrder(schedule, len(schedule))
	}
	return l
}
