package proxyos

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// route is a configured handler while it runs: it decides about each request's group, and
// has Caddy's reverse proxy send it to one of the group's upstreams.
type route struct {
	name       string
	title      string // the name, or what stands for it in lists and logs
	place      place
	label      any // the name, as a placeholder's value
	production *group
	staging    *group   // nil if there is none
	groups     []*group // both, production first
	fallback   bool     // whether production takes over what staging cannot serve
	release    *Release // how the share is to rise by itself; nil if it is not

	split       *splitter
	forced      forced
	cohorts     *cohorts // nil if clients do not stick
	breaker     *breaker
	retries     int           // at most, for each request; 0 if unlimited or none
	openFor     time.Duration // how long an upstream that failed is avoided; 0 if that is Caddy's passive check's to say
	budget      *retryBudget  // nil: unlimited
	retryBuffer int           // how much of a body is kept for a retry
	keptInAll   atomic.Int64  // how much is kept for all requests that are under way
	handsOn     bool          // handle_response routes may hand a request on to later handlers
	latencies   latencies     // told how long attempts take

	state     *routeState
	isNew     bool // no earlier config had the route
	inherited map[string]takenOver

	proxy       *reverseproxy.Handler
	express     *express // nil if there is no short way
	provisioned bool
	transport   *transport // nil if the route's transport is not http
	steering    *steering
	events      *events
	origin      caddy.Context // whose module is the handler, which its events come from
	logger      *zap.Logger
}

// newRoute returns a planned route that is yet to be loaded. It must be closed, whether
// loading succeeds or not.
func newRoute(p *plan, steering *steering, logger *zap.Logger) *route {
	r := &route{name: p.name, title: cmp.Or(p.name, p.firstAddress()), label: p.name, fallback: p.fallback, release: p.release, proxy: p.proxy, steering: steering, logger: logger}
	r.state, r.isNew = acquireRouteState(p.name)
	r.breaker = &r.state.breaker
	r.split = r.state.splitter(p.percent, instanceID())
	if p.sticky != nil {
		r.cohorts = newCohorts(p.sticky, p.name, r.state)
	}
	pool := p.proxy.Upstreams
	take := func(g *groupPlan, state *groupState) *group {
		upstreams := pool[:len(g.backends):len(g.backends)]
		pool = pool[len(g.backends):]
		return newGroup(g, upstreams, r.breaker, state)
	}
	r.production = take(p.production, &r.state.production)
	r.groups = []*group{r.production}
	if p.staging != nil {
		r.staging = take(p.staging, &r.state.staging)
		r.groups = append(r.groups, r.staging)
	}
	for _, g := range r.groups {
		g.warmUps = newWarmUps(p.slowStart)
		g.ejector = newEjector(p.eject, g, r)
		if p.measured {
			g.measure()
		}
	}
	r.budget = newRetryBudget(p.retryBudget, r.requests)
	return r
}

// requests returns how many requests the route has had.
func (r *route) requests() (n uint64) {
	for _, g := range r.groups {
		ended, _ := g.state.totals()
		n += ended + uint64(max(g.state.inFlight.Load(), 0))
	}
	return n
}

// load loads the modules of the route, and provisions its reverse proxy with the guests of
// this module in place. Active health checks begin at once, and need them.
func (r *route) load(ctx caddy.Context, p *plan, lanes map[string]*lane) error {
	var err error
	if r.forced, err = p.when.load(ctx); err != nil {
		return err
	}
	if len(r.forced.staging) > 0 || len(r.forced.production) > 0 {
		r.forced.failures = newMatcherFailures(r.title, r.logger)
	}
	for i, g := range p.groups() {
		if err := r.groups[i].loadModules(ctx, g); err != nil {
			if g == p.staging {
				return fmt.Errorf("staging: %w", err)
			}
			return err
		}
		if r.groups[i].dynamic != nil {
			r.proxy.DynamicUpstreams = upstreamSource{}
		}
	}
	if !p.ownTransport {
		r.transport = newTransport(r, p)
		if err := r.transport.load(ctx, r.groups, p.groups(), lanes); err != nil {
			return err
		}
		r.proxy.Transport = r.transport
	}
	r.proxy.LoadBalancing.SelectionPolicy = selectionPolicy{}
	r.retries = r.proxy.LoadBalancing.Retries
	r.openFor, r.retryBuffer, r.handsOn = p.openFor, p.retryBuffer, len(r.proxy.HandleResponse) > 0
	if _, err := ctx.App("events"); err != nil {
		return err // the reverse proxy could not be cleaned up after failing on this
	}
	r.provisioned = true
	if err := r.proxy.Provision(ctx); err != nil {
		return err
	}
	r.express = newExpress(r, p)
	r.warmUpNew()
	r.inherit()
	r.state.upstreams.join(r)
	return nil
}

// warmUpNew has those upstreams warm up that the config before this one does not have, where it has
// others of their group.
func (r *route) warmUpNew() {
	for _, g := range r.groups {
		isNew := func(t *target) bool { return t.before == nil }
		if g.warmUps == nil || !slices.ContainsFunc(g.targets, func(t *target) bool { return !isNew(t) }) {
			continue
		}
		for _, t := range g.targets {
			if isNew(t) {
				g.warmUps.begin(t.upstream)
			}
		}
		for s := g.seated.Load(); s != nil; s = s.backup {
			s.turns.lineUp(g)
		}
	}
}

// inherit takes over which upstreams the config before this one knows to be down, for the
// time that this one needs to find out by itself.
func (r *route) inherit() {
	period := timeToKnow(r.proxy.HealthChecks)
	for _, g := range r.groups {
		for _, t := range g.targets {
			before := t.before
			t.before = nil
			if before == nil || before.Healthy() || period == 0 || r.breaker.isOpen(t.backend.dial) {
				continue
			}
			if r.inherited == nil {
				r.inherited = make(map[string]takenOver)
			}
			r.inherited[t.backend.dial] = r.breaker.takeOver(t.backend.dial, period)
		}
	}
}

// close gives up what the route has acquired. Its state lives on if the next config has
// the route.
func (r *route) close() error {
	var all []error
	all = append(all, r.closeProxy())
	if r.transport != nil {
		all = append(all, r.transport.close())
	}
	r.state.upstreams.leave(r)
	r.releaseGroups()
	r.state.override.leave(r.split)
	return errors.Join(append(all, releaseRouteState(r.name))...)
}

// releaseGroups gives up the upstreams' states, and what the breaker knows of those that no
// config has any more.
func (r *route) releaseGroups() {
	for _, g := range r.groups {
		g.seated.Load().close()
		for _, t := range g.targets {
			dial := t.backend.dial
			if g.state.release(t.upstream) {
				r.breaker.giveBack(dial, r.inherited[dial]) // this config has not come to run
			}
			if !r.state.has(dial) {
				r.breaker.forget(dial)
			}
		}
	}
}

// closeProxy cleans up the reverse proxy. One whose provisioning failed half way must not
// give up the hosts of upstreams that it has not acquired: the running config has them.
func (r *route) closeProxy() error {
	if !r.provisioned {
		return nil
	}
	var acquired reverseproxy.UpstreamPool
	for _, upstream := range r.proxy.Upstreams {
		if upstream.Host != nil {
			acquired = append(acquired, upstream)
		}
	}
	if len(acquired) < len(r.proxy.Upstreams) {
		r.proxy.Upstreams = acquired
	}
	return r.proxy.Cleanup()
}

// warnUnchecked warns of upstreams whose certificates are not checked only because of their
// ports: nobody has asked for that in so many words.
func (r *route) warnUnchecked(upstreams ...string) {
	if len(upstreams) == 0 {
		return
	}
	r.logger.Warn("certificates of upstreams on well-known HTTPS ports are not checked; write `skip_tls_verify off` to check them, or `skip_tls_verify` to say that this is meant",
		zap.String("route", r.title), zap.Strings("upstreams", upstreams))
}
