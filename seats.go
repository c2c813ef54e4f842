package proxyos

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// seats is who may be chosen in a group, and by which policy: all its configured upstreams but
// those that are drained, by the weights in force. It never changes: a change is another one.
type seats struct {
	pool   reverseproxy.UpstreamPool
	policy reverseproxy.Selector // nil: turns
	turns  *turnPolicy           // those of the default policy, which help another one out
}

// seat has the upstreams chosen by what is set at run time for each. Whoever calls it must see to
// it that no other does at the same time.
func (g *group) seat() {
	next := &seats{policy: g.policy}
	var weights []int
	var places []int // in the configuration
	for i, t := range g.targets {
		if !t.isDrained() {
			next.pool = append(next.pool, t.upstream)
			weights, places = append(weights, t.weight()), append(places, i)
		}
	}
	byPlace, isByPlace := g.policy.(*reverseproxy.WeightedRoundRobinSelection)
	switch {
	case g.policy == nil && isZero(weights):
		next.pool, weights = nil, nil
	case len(places) == len(g.pool):
		next.pool = g.pool
	case isByPlace:
		some := weightsOf(byPlace, places)
		if next.policy = some; isZero(some.Weights) {
			next.pool = nil
		}
	}
	if g.policy != nil {
		weights = nil
	}
	next.turns = newTurns(next.pool, weights)
	if last := g.seated.Load(); last != nil {
		next.turns.taken.Store(last.turns.taken.Load())
		next.turns.last.Store(last.turns.last.Load())
		defer last.turns.lineups.close()
	}
	g.seated.Store(next)
}

// weightsOf returns Caddy's policy for some of the places that it has weights for.
func weightsOf(policy *reverseproxy.WeightedRoundRobinSelection, places []int) *reverseproxy.WeightedRoundRobinSelection {
	some := new(reverseproxy.WeightedRoundRobinSelection)
	for _, place := range places {
		weight := 0
		if hasShare(policy, place) {
			weight = 1
			if len(policy.Weights) > 1 {
				weight = policy.Weights[place]
			}
		}
		some.Weights = append(some.Weights, weight)
	}
	_ = some.Provision(caddy.Context{}) // which only adds them up
	return some
}

func isZero(weights []int) bool {
	return !slices.ContainsFunc(weights, func(weight int) bool { return weight > 0 })
}
