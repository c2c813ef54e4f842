package proxyos

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(selectionPolicy))
}

// selectionPolicy is the route's guest in its reverse proxy that picks the upstream of
// each attempt. It has no configuration and cannot be used by itself.
type selectionPolicy struct {
	route *Handler
}

// CaddyModule returns the Caddy module information.
func (*selectionPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.proxyos",
		New: func() caddy.Module { return new(selectionPolicy) },
	}
}

// Provision finds the route that p belongs to.
func (p *selectionPolicy) Provision(ctx caddy.Context) (err error) {
	p.route, err = hostOf(ctx, "lb_policy proxyos")
	return err
}

// Select picks the upstream for the next attempt of a request, or nil if there is none.
func (p *selectionPolicy) Select(_ reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	j := journeyOf(r)
	if len(j.tried) == 0 {
		setRealIP(r)
	}
	p.route.countFailedAttempt(j)
	upstream := p.route.next(j, r, w)
	if upstream != nil {
		j.tried = append(j.tried, upstream)
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
	skipTLSVerify *bool
	backends      []backend
	dynamic       reverseproxy.UpstreamSource // nil: the backends are all there is
	policy        reverseproxy.Selector       // nil: turns by weight

	pool     reverseproxy.UpstreamPool // the backends as Caddy's upstreams
	distrust *distrust                 // of its upstreams
	schedule []uint32                  // the order of turns, as indices of the pool
	turns    atomic.Uint64             // how many have been taken
}

// pick returns an available upstream that the request has not tried, or nil.
func (g *group) pick(j *journey, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	pool := j.poolOf(g)
	switch {
	case len(pool) == 0:
		return nil
	case len(j.tried) > 0, g.policy != nil && g.distrust.any():
		return g.pickAgain(pool, j, r, w)
	case g.policy != nil:
		return g.policy.Select(pool, r, w)
	}
	return g.takeTurn(pool)
}

// takeTurn takes the next turn, and the ones after it while their upstream is out, so
// that the other upstreams keep their proportions.
func (g *group) takeTurn(pool reverseproxy.UpstreamPool) *reverseproxy.Upstream {
	for missed := range g.cycle(pool) {
		if upstream := g.at(pool, g.turns.Add(1)-1); g.available(upstream) {
			return upstream
		}
		if missed == len(pool) && !slices.ContainsFunc(pool, g.available) {
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
	var left reverseproxy.UpstreamPool
	for _, upstream := range pool {
		if untried(upstream) {
			left = append(left, upstream)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return g.policy.Select(left, r, w)
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
	turn := g.turns.Load()
	for ahead := range min(g.cycle(pool), 2*len(pool)) {
		if upstream := g.at(pool, turn+uint64(ahead)); fits(upstream) {
			return upstream
		}
	}
	for i, upstream := range pool {
		if g.weight(pool, i) > 0 && fits(upstream) {
			return upstream
		}
	}
	return nil
}

// isScheduled tells whether pool is the one that the schedule was made for, not one from
// a dynamic source or one that another policy rules.
func (g *group) isScheduled(pool reverseproxy.UpstreamPool) bool {
	return len(g.schedule) > 0 && len(pool) == len(g.pool) && pool[0] == g.pool[0]
}

// cycle returns the number of turns after which the order begins again.
func (g *group) cycle(pool reverseproxy.UpstreamPool) int {
	if g.isScheduled(pool) {
		return len(g.schedule)
	}
	return len(pool)
}

// at returns the upstream whose turn it is.
func (g *group) at(pool reverseproxy.UpstreamPool, turn uint64) *reverseproxy.Upstream {
	if g.isScheduled(pool) {
		return pool[g.schedule[turn%uint64(len(g.schedule))]]
	}
	return pool[turn%uint64(len(pool))]
}

func (g *group) weight(pool reverseproxy.UpstreamPool, i int) int {
	if g.isScheduled(pool) {
		return g.backends[i].weight
	}
	return 1
}

// hostOf returns the proxyos handler whose reverse proxy the module being provisioned is
// a guest of.
func hostOf(ctx caddy.Context, name string) (*Handler, error) {
	lineage := ctx.Modules() // …, the route, its reverse proxy, the guest
	if len(lineage) >= 3 {
		if route, ok := lineage[len(lineage)-3].(*Handler); ok {
			return route, nil
		}
	}
	return nil, errors.New(name + " belongs to the proxyos handler and cannot be used by itself; leave it out")
}

// Interface guards
var (
	_ caddy.Provisioner     = (*selectionPolicy)(nil)
	_ reverseproxy.Selector = (*selectionPolicy)(nil)
)
