package proxyos

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/turns"
)

// turnPolicy is the default policy of a group: its upstreams take turns by weight. Upstreams of
// a dynamic source, and those of another policy where turns help it out, take them one
// after the other. A nil one is for a pool of one upstream, which takes every turn; most groups of a
// large configuration have one.
type turnPolicy struct {
	pool    reverseproxy.UpstreamPool // the configured upstreams
	weights []int                     // theirs; none where another policy rules
	order   turns.Order               // theirs; empty likewise
	lineups lineups                   // of those that are up; none likewise

	_      [64]byte      // what each turn reads and what it writes are not in one cache line
	taken  atomic.Uint64 // how many turns there have been
	last   atomic.Uint64 // how many of them as a last resort
	passed atomic.Uint64 // how many of them were passed on by those that are warming up
}

func newTurns(pool reverseproxy.UpstreamPool, weights []int) *turnPolicy {
	t := &turnPolicy{pool: pool, weights: weights}
	if schedule := turns.Schedule(weights); len(schedule) > 0 {
		t.order = turns.NewOrder(schedule, len(schedule))
		t.lineups.current.Store(&lineup{order: t.order})
	}
	return t
}

// lineUp has a new lineup made, where there are any.
func (t *turnPolicy) lineUp(g *group) {
	if t != nil && !t.order.IsZero() {
		t.lineups.replace(t, g)
	}
}

// take takes the next turn of those that are up. Where the lineup is no longer true, it takes the
// turns after it as well while their upstream is out, so that the other upstreams keep their
// proportions.
func (t *turnPolicy) take(pool reverseproxy.UpstreamPool, g *group) *reverseproxy.Upstream {
	if t == nil {
		return firstThat(pool, g.available)
	}
	if !t.rules(pool) {
		return t.walk(turns.NewOrder(nil, len(pool)), t.taken.Add(1), pool, g)
	}
	now := t.lineups.current.Load()
	turn := t.taken.Add(1)
	upstream := pool[now.order.At(turn-1)]
	if now.isSure(g.breaker) && upstream.Available() {
		if now.isBack(turn) {
			t.lineups.renew(t, g)
		}
		if now.warming != nil {
			return t.passOn(now, upstream, pool, g)
		}
		return upstream
	}
	if now.isStale(g.breaker, upstream, turn) {
		now = t.lineups.renew(t, g)
	}
	taker := t.walk(now.order, turn, pool, g)
	if now.nobody && taker != nil {
		t.lineups.renew(t, g)
	}
	if now.warming != nil && taker != nil {
		return t.passOn(now, taker, pool, g)
	}
	return taker
}

// passOn returns who takes a turn: the one that it falls on, or another if that is warming up and
// passes it on.
func (t *turnPolicy) passOn(now *lineup, taker *reverseproxy.Upstream, pool reverseproxy.UpstreamPool, g *group) *reverseproxy.Upstream {
	warming := now.warming[taker]
	if warming == nil || warming.takes(time.Now()) {
		return taker
	}
	if other := pool[now.others.At(t.passed.Add(1)-1)]; g.available(other) {
		return other
	}
	return taker
}

// orderAmong returns the order of some of the pool's places.
func (t *turnPolicy) orderAmong(places []int) turns.Order {
	weights := make([]int, len(places))
	for i, place := range places {
		weights[i] = t.weights[place]
	}
	schedule := turns.Schedule(weights)
	for i, turn := range schedule {
		schedule[i] = uint32(places[turn])
	}
	return turns.NewOrder(schedule, len(schedule))
}

// walk takes a turn that is counted already, and the ones after it while their upstream is out.
func (t *turnPolicy) walk(order turns.Order, turn uint64, pool reverseproxy.UpstreamPool, g *group) *reverseproxy.Upstream {
	missed := uint64(0)
	for {
		if upstream := pool[order.At(turn-1)]; g.available(upstream) {
			return upstream
		}
		missed++
		if missed == order.Len() || missed == uint64(len(pool)) && !slices.ContainsFunc(pool, g.available) {
			break
		}
		turn = t.taken.Add(1)
	}
	upstream := t.search(pool, g.available) // one that has no turn in the order, or was out a moment ago
	if upstream == nil {
		t.taken.Add(1 - missed) // a turn that nobody could take is one turn
	}
	return upstream
}

// takeLast is take for a last resort, among those that fit. It has turns of its own, which no
// request moves on that finds somebody available.
func (t *turnPolicy) takeLast(pool reverseproxy.UpstreamPool, fits func(*reverseproxy.Upstream) bool) *reverseproxy.Upstream {
	if t == nil || !slices.ContainsFunc(pool, fits) {
		return firstThat(pool, fits)
	}
	order := t.orderOf(pool)
	for range order.Len() {
		if upstream := pool[order.At(t.last.Add(1)-1)]; fits(upstream) {
			return upstream
		}
	}
	return t.search(pool, fits)
}

// search returns the first upstream that fits, in the order of the coming turns, without
// taking any.
func (t *turnPolicy) search(pool reverseproxy.UpstreamPool, fits func(*reverseproxy.Upstream) bool) *reverseproxy.Upstream {
	if t == nil {
		return firstThat(pool, fits)
	}
	order, turn := t.orderOf(pool), t.taken.Load()
	for ahead := range min(order.Len(), 2*uint64(len(pool))) {
		if upstream := pool[order.At(turn+ahead)]; fits(upstream) {
			return upstream
		}
	}
	for i, upstream := range pool {
		if (!order.IsScheduled() || t.weights[i] > 0) && fits(upstream) {
			return upstream
		}
	}
	return nil
}

// firstThat returns the first upstream of a pool that fits, or nil.
func firstThat(pool reverseproxy.UpstreamPool, fits func(*reverseproxy.Upstream) bool) *reverseproxy.Upstream {
	for _, upstream := range pool {
		if fits(upstream) {
			return upstream
		}
	}
	return nil
}

// orderOf returns the order for a pool: the one made for the configured upstreams, unless
// the pool is from a dynamic source or ruled by another policy.
func (t *turnPolicy) orderOf(pool reverseproxy.UpstreamPool) turns.Order {
	if t.rules(pool) {
		return t.order
	}
	return turns.NewOrder(nil, len(pool))
}

// rules tells whether the turns are those of the pool by weight.
func (t *turnPolicy) rules(pool reverseproxy.UpstreamPool) bool {
	return !t.order.IsZero() && &pool[0] == &t.pool[0]
}
