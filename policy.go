package proxyos

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// turns is the default policy of a group: its upstreams take turns by weight. Upstreams of
// a dynamic source, and those of another policy where turns help it out, take them one
// after the other.
type turns struct {
	pool    reverseproxy.UpstreamPool // the configured upstreams
	weights []int                     // theirs; none where another policy rules
	order   order                     // theirs; empty likewise
	taken   atomic.Uint64             // how many turns there have been
}

func newTurns(pool reverseproxy.UpstreamPool, weights []int) *turns {
	t := &turns{pool: pool, weights: weights}
	if schedule := buildSchedule(weights); len(schedule) > 0 {
		t.order = newOrder(schedule, len(schedule))
	}
	return t
}

// take takes the next turn, and the ones after it while their upstream is out, so that the
// other upstreams keep their proportions.
func (t *turns) take(pool reverseproxy.UpstreamPool, available func(*reverseproxy.Upstream) bool) *reverseproxy.Upstream {
	order := t.orderOf(pool)
	for missed := range order.length {
		if upstream := order.at(pool, t.taken.Add(1)-1); available(upstream) {
			return upstream
		}
		if missed == uint64(len(pool)) && !slices.ContainsFunc(pool, available) {
			return nil
		}
	}
	return t.search(pool, available)
}

// search returns the first upstream that fits, in the order of the coming turns, without
// taking any.
func (t *turns) search(pool reverseproxy.UpstreamPool, fits func(*reverseproxy.Upstream) bool) *reverseproxy.Upstream {
	order, turn := t.orderOf(pool), t.taken.Load()
	for ahead := range min(order.length, 2*uint64(len(pool))) {
		if upstream := order.at(pool, turn+ahead); fits(upstream) {
			return upstream
		}
	}
	for i, upstream := range pool {
		if (len(order.schedule) == 0 || t.weights[i] > 0) && fits(upstream) {
			return upstream
		}
	}
	return nil
}

// orderOf returns the order for a pool: the one made for the configured upstreams, unless
// the pool is from a dynamic source or ruled by another policy.
func (t *turns) orderOf(pool reverseproxy.UpstreamPool) order {
	if t.order.length > 0 && &pool[0] == &t.pool[0] {
		return t.order
	}
	return newOrder(nil, len(pool))
}

// order is the order in which the upstreams of a pool take turns.
type order struct {
	schedule []uint32 // as indices of the pool; empty: one after the other
	length   uint64   // the turns after which it begins again
	inverse  uint64   // 2⁶⁴ divided by the length
}

func newOrder(schedule []uint32, length int) order {
	return order{schedule: schedule, length: uint64(length), inverse: math.MaxUint64 / uint64(length)}
}

// at returns the upstream whose turn it is. It divides by multiplying, which is much
// faster and leaves a remainder that is too large by the divisor at most.
func (o *order) at(pool reverseproxy.UpstreamPool, turn uint64) *reverseproxy.Upstream {
	quotient, _ := bits.Mul64(turn, o.inverse)
	slot := turn - quotient*o.length
	for slot >= o.length {
		slot -= o.length
	}
	if len(o.schedule) == 0 {
		return pool[slot]
	}
	return pool[o.schedule[slot]]
}
