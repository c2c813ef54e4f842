// Package proxyos is a Caddy module: an HTTP handler that takes upstream addresses the way
// people write them, speaks to each upstream in its own way, balances over them, and sends
// a chosen share of the traffic to staging upstreams. It is a superset of Caddy's
// reverse_proxy, which does the proxying.
package proxyos

import (
	"encoding/json"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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
//
// It sets two placeholders, for later use in header_up, header_down, access logs and later
// handlers:
//
// Placeholder | Description
// ------------|------------
// `{http.proxyos.group}` | The group that served the request in the end: production or staging
// `{http.proxyos.route}` | The name of the route; empty if it has none
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
	Staging *Group `json:"staging,omitempty"`

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

	// How many bytes of a request's body are kept, so that another upstream can be sent all of
	// it where one has failed: of those requests that may be repeated, which are GET and what
	// `retry_match` adds. A request with a longer body is not retried once some of it has been
	// sent. No more than 16 MiB are kept for all requests of a route together. From 0, which
	// keeps nothing, to 16777216. Default: 65536.
	RetryBuffer *int64 `json:"retry_buffer,omitempty"`

	// The fields of the handler that are reverse_proxy's own, by name.
	ReverseProxy map[string]json.RawMessage `json:"-"`

	route *route // once it is provisioned
}

// Group is a group of upstreams, in JSON that of staging; production's are the handler's own
// fields.
type Group struct {
	// The upstreams. Required, unless there are dynamic ones. Not all of them may
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

// Provision works out what the handler means, and loads its route.
func (h *Handler) Provision(ctx caddy.Context) error {
	loaded, err := ctx.App("proxyos")
	if err != nil {
		return err
	}
	app := loaded.(*App)
	p, err := newPlan(h, app.httpsPorts)
	if err != nil {
		return err
	}
	h.route = newRoute(p, app.steering, ctx.Logger())
	if twin := app.routes.named(h.Name); twin != nil {
		h.route.isNew = twin.isNew
	}
	if err := h.route.load(ctx, p, app.lanes); err != nil {
		return err
	}
	h.route.warnUnchecked(p.unchecked()...)
	if p.idleChecks() {
		ctx.Logger().Warn(idleChecksWarning, zap.String("route", h.Name))
	}
	return app.routes.add(h.route, h)
}

// Cleanup gives up what the route has acquired.
func (h *Handler) Cleanup() error {
	if h.route == nil {
		return nil
	}
	return h.route.close()
}

// ServeHTTP proxies a request to an upstream of the group that it is for.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return h.route.serve(w, r, next)
}

// noteHealth implements checkedHandler.
func (h *Handler) noteHealth(dial string, healthy bool) { h.route.noteHealth(dial, healthy) }

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ json.Unmarshaler            = (*Handler)(nil)
	_ json.Marshaler              = (*Handler)(nil)
	_ checkedHandler              = (*Handler)(nil)
)
