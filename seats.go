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
	turns  *turnPolicy           // those of the default policy, which help another one out; nil where there is one upstream
	backup *seats                // who is chosen where nobody else is available; nil if nobody
}

// seat has the upstreams chosen by what is set at run time for each. Whoever calls it must see to
// it that no other does at the same time.
func (g *group) seat() {
	var first, backups []int // in the configuration
	for i, t := range g.targets {
		switch {
		case t.isDrained():
		case t.backend.backup:
			backups = append(backups, i)
		default:
			first = append(first, i)
		}
	}
	last := g.seated.Load()
	next := g.seatsFor(first, g.policy, last)
	if len(backups) > 0 {
		next.backup = g.seatsFor(backups, nil, last.spare())
	}
	if last != nil {
		for _, s := range []*seats{next, next.backup} {
			g.goOn(s, last)
		}
	}
	g.seated.Store(next)
	last.close()
}

// goOn has seats follow the last ones: who was not chosen there warms up.
func (g *group) goOn(s, last *seats) {
	if s == nil {
		return
	}
	for _, upstream := range s.pool {
		if !last.has(upstream) {
			g.warmUps.begin(upstream)
		}
	}
	s.turns.lineUp(g)
}

// has tells whether an upstream may be chosen.
func (s *seats) has(upstream *reverseproxy.Upstream) bool {
	return s != nil && (slices.Contains(s.pool, upstream) || s.backup.has(upstream))
}

// spare returns the seats of the backups; nil if there are none.
func (s *seats) spare() *seats {
	if s == nil {
		return nil
	}
	return s.backup
}

// seatsFor returns seats for some of the configured upstreams, whose turns go on from the last
// ones, if there were any.
func (g *group) seatsFor(places []int, policy reverseproxy.Selector, last *seats) *seats {
	next := &seats{policy: policy}
	var weights []int
	for _, i := range places {
		next.pool = append(next.pool, g.pool[i])
		weights = append(weights, g.targets[i].weight())
	}
	byPlace, isByPlace := policy.(*reverseproxy.WeightedRoundRobinSelection)
	switch {
	case policy == nil && isZero(weights):
		next.pool, weights = nil, nil
	case len(places) == len(g.pool):
		next.pool = g.pool
	case isByPlace:
		some := weightsOf(byPlace, places)
		if next.policy = some; isZero(some.Weights) {
			next.pool = nil
		}
	}
	if policy != nil {
		weights = nil
	}
	if len(next.pool) == 1 && g.dynamic == nil {
		return next
	}
	next.turns = newTurns(next.pool, weights)
	if last != nil && last.turns != nil {
		next.turns.taken.Store(last.turns.taken.Load())
		next.turns.last.Store(last.turns.last.Load())
	}
	return next
}

// close has no turns made anew any more.
func (s *seats) close() {
	for ; s != nil; s = s.backup {
		if s.turns != nil {
			s.turns.lineups.close()
		}
	}
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
