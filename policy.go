package proxyos

import (
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/turns"
)

// turnPolicy is the default policy of a group: its upstreams take turns by weight. Upstreams of
// a dynamic source, and those of another policy where turns help it out, take them one
// after the other.
type turnPolicy struct {
	pool    reverseproxy.UpstreamPool // the configured upstreams
	weights []int                     // theirs; none where another policy rules
	order   turns.Order               // theirs; empty likewise
	taken   atomic.Uint64             // how many turns there have been
	last    atomic.Uint64             // how many of them as a last resort
}

func newTurns(pool reverseproxy.UpstreamPool, weights []int) *turnPolicy {
	t := &turnPolicy{pool: pool, weights: weights}
	if schedule := turns.Schedule(weights); len(schedule) > 0 {
		t.order = turns.NewOrder(schedule, len(schedule))
	}
	return t
}

// take takes the next turn, and the ones after it while their upstream is out, so that the
// other upstreams keep their proportions.
func (t *turnPolicy) take(pool reverseproxy.UpstreamPool, g *group) *reverseproxy.Upstream {
	order := t.orderOf(pool)
	for missed := range order.Len() {
		if upstream := pool[order.At(t.taken.Add(1)-1)]; g.available(upstream) {
			return upstream
		}
		if missed == uint64(len(pool)) && !slices.ContainsFunc(pool, g.available) {
			t.taken.Add(-missed) // a turn that nobody could take is one turn
			return nil
		}
	}
	return t.search(pool, g.available) // an upstream that has no turn, or was out a moment ago
}

// takeLast is take for a last resort, among those that fit. It has turns of its own, which no
// request moves on that finds somebody available.
func (t *turnPolicy) takeLast(pool reverseproxy.UpstreamPool, fits func(*reverseproxy.Upstream) bool) *reverseproxy.Upstream {
	if !slices.ContainsFunc(pool, fits) {
		return nil
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

// orderOf returns the order for a pool: the one made for the configured upstreams, unless
// the pool is from a dynamic source or ruled by another policy.
func (t *turnPolicy) orderOf(pool reverseproxy.UpstreamPool) turns.Order {
	if !t.order.IsZero() && &pool[0] == &t.pool[0] {
		return t.order
	}
	return turns.NewOrder(nil, len(pool))
}
