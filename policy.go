package proxyos

import (
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/turns"
)

// selectionPolicy is the route's guest in its reverse proxy that picks the upstream of
// each attempt.
type selectionPolicy struct {
	route *Handler
}

// Select picks the upstream for the next attempt of a request, or nil if there is none.
func (p *selectionPolicy) Select(_ reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	j := journeyOf(r)
	if len(j.tried) == 0 {
		setRealIP(r)
	}
	r.URL.Scheme = "" // the last attempt's, which may not be this one's
	p.route.countFailedAttempt(j)
	upstream := p.route.next(j, r, w)
	if upstream != nil {
		j.tried, j.strikes = append(j.tried, upstream), upstream.Fails()
		p.route.countAttempt(upstream)
	}
	return upstream
}

// setRealIP tells the upstream the client's address, whatever the client says of it. r is
// the reverse proxy's own copy of the request.
func setRealIP(r *http.Request) {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if ip == "" || ip == "@" { // the client came through a socket
		delete(r.Header, "X-Real-Ip")
		return
	}
	r.Header["X-Real-Ip"] = []string{ip}
}

// next picks the upstream for the next attempt of the request r, first in the request's
// group, then, for staging, in production.
func (h *Handler) next(j *journey, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if h.mayFallBack(j) && h.retries > 0 && len(j.tried) == h.retries {
		h.fallBack(j) // the last attempt is for production
	}
	if upstream := j.group.pick(j, r, w); upstream != nil {
		return upstream
	}
	if h.mayFallBack(j) {
		h.fallBack(j)
		if upstream := j.group.pick(j, r, w); upstream != nil {
			return upstream
		}
	}
	return j.group.lastResort(j, r, w)
}

// group is the upstreams that share one purpose, production or staging.
type group struct {
	name          string
	label         any // the name, as a placeholder's value
	skipTLSVerify *bool
	backends      []backend
	dynamic       reverseproxy.UpstreamSource // nil: the backends are all there is
	policy        reverseproxy.Selector       // nil: turns by weight

	pool     reverseproxy.UpstreamPool // the backends as Caddy's upstreams
	distrust *distrust                 // of its upstreams
	order    turns.Order               // of turns in the pool
	turns    atomic.Uint64             // how many have been taken
}

// pick returns an available upstream that the request has not tried, or nil.
func (g *group) pick(j *journey, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	for {
		upstream := g.choose(j, r, w)
		if upstream == nil || !g.distrust.any() || g.distrust.admit(upstream.Dial) {
			return upstream
		}
	}
}

func (g *group) choose(j *journey, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	pool := j.poolOf(g)
	switch {
	case len(pool) == 0:
		return nil
	case len(j.tried) > 0, g.policy != nil && g.distrust.any():
		return g.pickAgain(pool, j, r, w)
	case g.policy != nil:
		if upstream := g.policy.Select(pool, r, w); upstream != nil {
			return upstream
		}
		// Caddy's round_robin may find nobody, though there is somebody, while other
		// requests move it on
		return g.pickAgain(pool, j, r, w)
	}
	return g.takeTurn(pool)
}

// takeTurn takes the next turn, and the ones after it while their upstream is out, so
// that the other upstreams keep their proportions.
func (g *group) takeTurn(pool reverseproxy.UpstreamPool) *reverseproxy.Upstream {
	order := g.orderOf(pool)
	for missed := range order.Len() {
		if upstream := pool[order.At(g.turns.Add(1)-1)]; g.available(upstream) {
			return upstream
		}
		if missed == uint64(len(pool)) && !slices.ContainsFunc(pool, g.available) {
			return nil
		}
	}
	return g.search(pool, g.available)
}

// pickAgain is pick where some upstreams are to be left out, above all for a retry, which
// takes no turn of its own.
func (g *group) pickAgain(pool reverseproxy.UpstreamPool, j *journey, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	untried := func(u *reverseproxy.Upstream) bool { return g.available(u) && !j.hasTried(u) }
	if g.policy == nil {
		return g.search(pool, untried)
	}
	// Caddy's weights are those of the whole pool's places, and mean nothing in a part of it
	weighted, byPlace := g.policy.(*reverseproxy.WeightedRoundRobinSelection)
	var left reverseproxy.UpstreamPool
	for i, upstream := range pool {
		if untried(upstream) && (!byPlace || hasShare(weighted, i)) {
			left = append(left, upstream)
		}
	}
	switch {
	case len(left) == 0:
		return nil
	case byPlace:
		return left[g.turns.Add(1)%uint64(len(left))]
	}
	return g.policy.Select(left, r, w)
}

// hasShare tells whether the upstream in a place of the pool gets any requests. With one
// weight alone, only the first does.
func hasShare(policy *reverseproxy.WeightedRoundRobinSelection, place int) bool {
	if len(policy.Weights) < 2 {
		return place == 0
	}
	return place < len(policy.Weights) && policy.Weights[place] > 0
}

// lastResort picks an upstream where no available one is left untried: one that is
// available still; or, where all are marked down, any that has room, since a marked-down
// upstream is a guess and a refused connection a fact.
func (g *group) lastResort(j *journey, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	pool := j.poolOf(g)
	if len(pool) == 0 {
		return nil
	}
	if len(j.tried) > 0 {
		if g.policy != nil {
			if upstream := g.policy.Select(pool, r, w); upstream != nil {
				return upstream
			}
		} else if upstream := g.search(pool, g.available); upstream != nil {
			return upstream
		}
	}
	g.turns.Add(1)
	if upstream := g.search(pool, func(u *reverseproxy.Upstream) bool { return !u.Full() && !j.hasTried(u) }); upstream != nil {
		return upstream
	}
	return g.search(pool, func(u *reverseproxy.Upstream) bool { return !u.Full() })
}

// search returns the first upstream that fits, in the order of the coming turns, without
// taking any.
func (g *group) search(pool reverseproxy.UpstreamPool, fits func(*reverseproxy.Upstream) bool) *reverseproxy.Upstream {
	order, turn := g.orderOf(pool), g.turns.Load()
	for ahead := range min(order.Len(), 2*uint64(len(pool))) {
		if upstream := pool[order.At(turn+ahead)]; fits(upstream) {
			return upstream
		}
	}
	for i, upstream := range pool {
		if (!order.IsScheduled() || g.backends[i].weight > 0) && fits(upstream) {
			return upstream
		}
	}
	return nil
}

// orderOf returns the order for a pool: the one made for the configured upstreams, unless
// the pool is from a dynamic source or ruled by another policy.
func (g *group) orderOf(pool reverseproxy.UpstreamPool) turns.Order {
	if !g.order.IsZero() && &pool[0] == &g.pool[0] {
		return g.order
	}
	return turns.NewOrder(nil, len(pool))
}

// Interface guard
var _ reverseproxy.Selector = (*selectionPolicy)(nil)
