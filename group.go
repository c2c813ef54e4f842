package proxyos

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// A route's two groups.
const (
	production = "production"
	staging    = "staging"
)

// group is the upstreams that share one purpose, production or staging.
type group struct {
	name    string
	label   any // the name, as a placeholder's value
	targets []*target
	pool    reverseproxy.UpstreamPool   // the targets as Caddy's upstreams
	dynamic reverseproxy.UpstreamSource // nil: the targets are all there is
	byPort  *portLanes                  // to the upstreams of the dynamic source
	policy  reverseproxy.Selector       // as configured; nil: the default one
	seated  atomic.Pointer[seats]       // who may be chosen now, of the configured upstreams
	breaker *breaker                    // the route's
	warmUps *warmUps                    // nil if there is no slow_start
	ejector *ejector                    // nil if nothing is ejected
	state   *groupState

	byUpstream few[*reverseproxy.Upstream, *target]
}

// newGroup returns a group of planned upstreams. The reverse proxy provisions the upstreams
// of its pool, and a transport the lanes.
func newGroup(p *groupPlan, pool reverseproxy.UpstreamPool, b *breaker, state *groupState) *group {
	g := &group{name: p.name, label: p.name, pool: pool, breaker: b, state: state}
	g.targets = make([]*target, 0, len(pool))
	var counted few[*upstreamState, struct{}]
	for i, backend := range p.backends {
		t := &target{backend: backend, upstream: pool[i], group: g}
		t.counts, t.before = state.acquire(pool[i])
		_, t.isRepeat = counted.get(t.counts)
		counted.set(t.counts, struct{}{})
		g.targets = append(g.targets, t)
		g.byUpstream.set(pool[i], t)
	}
	return g
}

// measure has more counted of each upstream than attempts.
func (g *group) measure() {
	for _, t := range g.targets {
		t.measures = g.state.measure(t.counts)
	}
}

// loadModules loads the group's own selection policy and source of upstreams, if it has any.
func (g *group) loadModules(ctx caddy.Context, p *groupPlan) error {
	if p.isDynamic() {
		source, err := ctx.LoadModule(&p.config, "DynamicUpstreamsRaw")
		if err != nil {
			return fmt.Errorf("loading the source of dynamic upstreams: %w", err)
		}
		g.dynamic = source.(reverseproxy.UpstreamSource)
	}
	if p.policy() == nil {
		g.seat()
		return nil
	}
	policy, err := ctx.LoadModule(p.config.LoadBalancing, "SelectionPolicyRaw")
	if err != nil {
		return fmt.Errorf("loading the load balancing policy: %w", err)
	}
	g.policy = policy.(reverseproxy.Selector)
	g.seat()
	return nil
}

// targetOf returns the target that an upstream of the group is.
func (g *group) targetOf(u *reverseproxy.Upstream) *target {
	if t, ok := g.byUpstream.get(u); ok {
		return t
	}
	t := &target{backend: backend{dial: u.Dial}, upstream: u}
	if g.byPort != nil {
		t.lane = g.byPort.of(u.Dial)
		t.backend.scheme = t.urlScheme
	}
	t.backend.address, _ = address.Parse(u.Dial)
	return t
}

// pick returns an available upstream that the request has not tried, or nil: a backup only if there
// is no other.
func (g *group) pick(s seats, tried tried, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	for {
		upstream := g.choose(s, tried, r, w)
		if upstream == nil && s.backup != nil {
			return g.pick(*s.backup, tried, r, w)
		}
		if upstream == nil || g.breaker.isClosed() || g.breaker.admit(upstream.Dial) {
			return upstream
		}
	}
}

func (g *group) choose(s seats, tried tried, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	switch {
	case len(s.pool) == 0:
		return nil
	case len(tried) > 0, s.policy != nil && !g.breaker.isClosed():
		return g.chooseUntried(s, tried, r, w)
	case s.policy != nil:
		if upstream := s.policy.Select(s.pool, r, w); upstream != nil {
			return upstream
		}
		// Caddy's round_robin may find nobody, though there is somebody, while other
		// requests move it on
		return g.chooseUntried(s, tried, r, w)
	}
	return s.turns.take(s.pool, g)
}

// chooseUntried is choose where some upstreams are to be left out, above all for a retry,
// which takes no turn of its own.
func (g *group) chooseUntried(s seats, tried tried, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	untried := func(u *reverseproxy.Upstream) bool { return g.available(u) && !tried.has(u) }
	if s.policy == nil {
		return s.turns.search(s.pool, untried)
	}
	// Caddy's weights are those of the whole pool's places, and mean nothing in a part of it
	weighted, byPlace := s.policy.(*reverseproxy.WeightedRoundRobinSelection)
	var left reverseproxy.UpstreamPool
	for i, upstream := range s.pool {
		if untried(upstream) && (!byPlace || hasShare(weighted, i)) {
			left = append(left, upstream)
		}
	}
	switch {
	case len(left) == 0:
		return nil
	case byPlace && len(left) == 1:
		return left[0]
	case byPlace:
		return left[s.turns.taken.Add(1)%uint64(len(left))]
	}
	return s.policy.Select(left, r, w)
}

// hasShare tells whether the upstream in a place of the pool gets any requests. With only
// one weight, only the first does.
func hasShare(policy *reverseproxy.WeightedRoundRobinSelection, place int) bool {
	if len(policy.Weights) < 2 {
		return place == 0
	}
	return place < len(policy.Weights) && policy.Weights[place] > 0
}

// lastResort picks an upstream where no available one is left untried: one that is
// available still; or, where all are marked down, any that has room, by turns. A mark is a
// guess and a refused connection a fact; but so is what an active health check has found.
func (g *group) lastResort(s seats, tried tried, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if len(tried) > 0 {
		if upstream := g.tryAgain(s, r, w); upstream != nil {
			return upstream
		}
	}
	untried := func(u *reverseproxy.Upstream) bool { return g.mayBeUp(u) && !tried.has(u) }
	for _, fits := range []func(*reverseproxy.Upstream) bool{untried, g.mayBeUp} {
		for some := &s; some != nil; some = some.backup {
			if len(some.pool) == 0 {
				continue
			}
			if upstream := some.turns.takeLast(some.pool, fits); upstream != nil {
				return upstream
			}
		}
	}
	return nil
}

// tryAgain picks an upstream that is available, whether the request has tried it or not.
func (g *group) tryAgain(s seats, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	for some := &s; some != nil; some = some.backup {
		if len(some.pool) == 0 {
			continue
		}
		upstream := (*reverseproxy.Upstream)(nil)
		if some.policy != nil {
			upstream = some.policy.Select(some.pool, r, w)
		} else {
			upstream = some.turns.search(some.pool, g.available)
		}
		if upstream != nil {
			return upstream
		}
	}
	return nil
}

// mayBeUp tells whether an upstream that is marked down is worth an attempt.
func (g *group) mayBeUp(u *reverseproxy.Upstream) bool {
	if t, ok := g.byUpstream.get(u); ok && t.unhealthy.Load() {
		return false
	}
	return !u.Full()
}

// tried are the upstreams that a request has been sent to.
type tried []*reverseproxy.Upstream

// has compares by address: a dynamic source makes a new upstream each time.
func (t tried) has(u *reverseproxy.Upstream) bool {
	return slices.ContainsFunc(t, func(one *reverseproxy.Upstream) bool { return one.Dial == u.Dial })
}

// available tells whether an upstream of the group can be sent requests.
func (g *group) available(u *reverseproxy.Upstream) bool {
	return u.Available() && (g.breaker.isClosed() || !g.breaker.rejects(u.Dial))
}

// isUp tells whether any upstream of the group can be sent requests. One on trial has yet to show
// that. It cannot know it of dynamic upstreams.
func (g *group) isUp() bool { return g.servesWithout("") }

// servesWithout is isUp without the upstream at a dial address.
func (g *group) servesWithout(dial string) bool {
	if g.dynamic != nil {
		return true
	}
	for _, t := range g.targets {
		if t.backend.dial != dial && g.chooses(t, t.set.Load()) && g.isProven(t.upstream) {
			return true
		}
	}
	return false
}

// chooses tells whether an upstream of the group may be chosen at all with what is set for it.
func (g *group) chooses(t *target, set *upstreamOverride) bool {
	weighted, isByPlace := g.policy.(*reverseproxy.WeightedRoundRobinSelection)
	switch {
	case set != nil && set.Drained:
		return false
	case isByPlace && !t.backend.backup:
		return hasShare(weighted, slices.Index(g.targets, t))
	case g.policy != nil && !t.backend.backup:
		return true
	case set != nil && set.Weight != nil:
		return *set.Weight > 0
	}
	return t.backend.weight > 0
}

// has tells whether the group has a configured upstream at a dial address.
func (g *group) has(dial string) bool {
	return slices.ContainsFunc(g.targets, func(t *target) bool { return t.backend.dial == dial })
}

// isProven tells whether nothing is known against an upstream of the group, and it is not on trial.
func (g *group) isProven(u *reverseproxy.Upstream) bool {
	return g.isHealthy(u) && (g.breaker.isClosed() || !g.breaker.isHalfOpen(u.Dial))
}

// isHealthy tells whether an upstream of the group is not known to be down.
func (g *group) isHealthy(u *reverseproxy.Upstream) bool {
	return u.Healthy() && (g.breaker.isClosed() || !g.breaker.isOpen(u.Dial))
}
