// Package proxyos is a Caddy module: an HTTP handler that takes upstream addresses the way
// people write them, speaks to each upstream in its own way, balances over them, and sends
// a chosen share of the traffic to staging upstreams. It is a superset of Caddy's
// reverse_proxy, which does the proxying.
package proxyos

import (
	"encoding/json"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is a route: production upstreams, staging upstreams beside them if wanted, and
// the share of the traffic that staging gets. Each upstream's address says how to speak to
// it; see the address table in the README.
//
// Every field of Caddy's http.handlers.reverse_proxy may stand beside the fields below and
// means what it means there, for both groups, but that `dynamic_upstreams` and the
// `selection_policy` are production's alone. These defaults are different: upstreams take
// turns by weight rather than being chosen at random; HTTPS upstreams, too, get the Host that
// the client sent; X-Real-IP is set to the client's address; up to 256 idle connections to
// each upstream are kept rather than 32, and shared with other routes that say nothing of
// their transport; with two or more upstreams in both groups together, failed requests are
// retried elsewhere (`retries` 2, unless `retries` or `try_duration` is given), and an
// upstream that failed is avoided for 10 seconds (`fail_duration`, unless given); and where
// all upstreams are marked down, requests are tried on them all the same. See
// docs/differences.md for all of it, and how to get reverse_proxy's behavior back.
type Handler struct {
	// The name of the route in logs, metrics, commands and the admin API. With one, the split
	// can be changed while the route runs, and the route keeps its place in the split, its
	// counters and what it knows of dead upstreams through reloads. 1 to 64 letters, digits,
	// '-', '_' and '.', the first a letter or digit; no two routes of a config have the same.
	// No placeholders. Default: none.
	Name string `json:"name,omitempty"`

	// The production upstreams. Required, unless there are dynamic ones. Not all of them may
	// have weight 0. The same address may stand here and in staging, if it is spoken to in
	// the same way.
	Upstreams []Upstream `json:"upstreams,omitempty"`

	// The staging upstreams. Needs a TrafficSplit, StagingWhen or Name: otherwise no request
	// would ever go there. Default: none, all traffic goes to production.
	Staging *Staging `json:"staging,omitempty"`

	// The percentage of requests that go to staging, from 0 to 100, decimals allowed. At
	// every moment staging has had its share of the requests so far, half a request off at
	// most; those that StagingWhen, ProductionWhen or Sticky decides are not counted. A share
	// that is set while the route runs is in force instead, until it is reset or this one is
	// edited. Needs a staging group. Default: 0.
	TrafficSplit *float64 `json:"traffic_split,omitempty"`

	// Whether to leave the certificates of the route's HTTPS upstreams unchecked (true), or
	// to check them, also where a detected port would leave them unchecked (false). A group
	// or an upstream may say otherwise for itself. It never turns TLS on by itself and has
	// no bearing on the client's connection to Caddy. Default: unset.
	SkipTLSVerify *bool `json:"skip_tls_verify,omitempty"`

	// Keeps each client in one group. Needs a staging group. Default: every request is shared
	// out by itself.
	Sticky *Sticky `json:"sticky,omitempty"`

	// Requests that go to staging whatever the split says, unless they match
	// ProductionWhen. One matcher set, or a list of them of which one must match. Needs a
	// staging group. Default: none.
	StagingWhen matcherSets `json:"staging_when,omitempty" caddy:"namespace=http.matchers"`

	// Requests that go to production whatever the split says, and StagingWhen. One matcher
	// set, or a list of them of which one must match. Needs a staging group. Default: none.
	ProductionWhen matcherSets `json:"production_when,omitempty" caddy:"namespace=http.matchers"`

	// Whether production takes over the requests for staging while no staging upstream is
	// available, and those that fail there and may be retried; the last of the retries is
	// production's. Production's requests never go to staging. Needs a staging group.
	// Default: true.
	StagingFallback *bool `json:"staging_fallback,omitempty"`

	// The fields of the handler that are reverse_proxy's own, by name.
	ReverseProxy map[string]json.RawMessage `json:"-"`

	options      routeOptions
	base         *reverseproxy.HTTPTransport // what the route's transport says; nil if it is not http
	hasTransport bool                        // whether the route says anything of its transport
	label        any                         // the name, as a placeholder's value
	groups       []*group                    // production, then staging if there is one
	split        *splitter
	forced       forced
	cohorts      *cohorts // nil if clients do not stick
	state        *routeState
	isNew        bool // no earlier config had the route
	stats        map[*reverseproxy.Upstream]*upstreamState
	distrust     distrust
	app          *App
	retries      int // at most, for each request; 0 if unlimited or none
	proxy        *reverseproxy.Handler
	logger       *zap.Logger
}

// Staging is the group of upstreams that a share of the traffic goes to.
type Staging struct {
	// The staging upstreams. Required, unless there are dynamic ones. Not all of them may
	// have weight 0.
	Upstreams []Upstream `json:"upstreams,omitempty"`

	// A source of upstreams that are known only at request time, as in reverse_proxy.
	// Default: none.
	DynamicUpstreamsRaw json.RawMessage `json:"dynamic_upstreams,omitempty" caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`

	// How an upstream of this group is chosen. Retries are the route's. Default: upstreams
	// take turns by weight.
	LoadBalancing *GroupLoadBalancing `json:"load_balancing,omitempty"`

	// Whether to leave the certificates of this group's HTTPS upstreams unchecked (true), or
	// to check them (false), whatever the route says. An upstream may say otherwise for
	// itself. Default: unset, as the route says.
	SkipTLSVerify *bool `json:"skip_tls_verify,omitempty"`
}

// GroupLoadBalancing is the part of reverse_proxy's load balancing that each group has for
// itself.
type GroupLoadBalancing struct {
	// Any of Caddy's selection policies, with a state of its own in each group. Default:
	// upstreams take turns by weight.
	SelectionPolicyRaw json.RawMessage `json:"selection_policy,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.proxyos",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision settles what each upstream means, and loads the reverse proxy.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.label = h.Name
	app, err := ctx.App("proxyos")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	if err := h.checkOptions(); err != nil {
		return err
	}
	if err := h.forced.load(ctx, h); err != nil {
		return err
	}
	h.options = routeOptions{httpsPorts: h.app.httpsPorts, skipTLSVerify: h.SkipTLSVerify}
	h.state, h.isNew = acquireRouteState(h.Name)
	c := composer{ctx: ctx, route: h}
	if err := c.compose(); err != nil {
		return err
	}
	h.bindState()
	h.base, h.ReverseProxy = nil, nil // have served their purpose
	h.warnUnchecked(h.unchecked()...)
	return h.app.add(h)
}

// bindState takes up what the route, if it has a name, knew under an earlier config.
func (h *Handler) bindState() {
	percent := 0.0
	if h.TrafficSplit != nil {
		percent = *h.TrafficSplit
	}
	h.split = &splitter{configured: newShare(percent), override: &h.state.override, phase: &h.state.phase}
	if o := h.state.override.Load(); o != nil && o.retired.Load() {
		h.split.ignored = o
	}
	if h.Sticky != nil {
		h.cohorts = newCohorts(h.Sticky, h.Name, h.state)
	}
	h.stats = make(map[*reverseproxy.Upstream]*upstreamState)
	for _, g := range h.groups {
		g.distrust = &h.distrust
		for _, upstream := range g.pool {
			h.stats[upstream] = h.state.upstream(upstream.Dial)
		}
	}
	h.distrustAsBefore(runningRoute(h.Name))
}

// Cleanup gives up the route's state, which lives on if the next config has the route.
func (h *Handler) Cleanup() error {
	if h.state == nil {
		return nil
	}
	return releaseRouteState(h.Name)
}

// unchecked lists the upstreams whose certificates are unchecked because of their ports
// alone.
func (h *Handler) unchecked() []string {
	var addresses []string
	for _, g := range h.groups {
		addresses = append(addresses, detectedWithoutCheck(g.backends)...)
	}
	return addresses
}

// warnUnchecked warns of such upstreams: nobody has asked for that in so many words.
func (h *Handler) warnUnchecked(upstreams ...string) {
	if len(upstreams) == 0 {
		return
	}
	h.logger.Warn("certificates of upstreams on well-known HTTPS ports are not checked; write `skip_tls_verify off` to check them, or `skip_tls_verify` to say that this is meant",
		zap.String("route", h.Name), zap.Strings("upstreams", upstreams))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ json.Unmarshaler            = (*Handler)(nil)
	_ json.Marshaler              = (*Handler)(nil)
)
