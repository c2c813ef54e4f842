// Package proxyos is a Caddy module: an HTTP handler that takes upstream addresses the way
// people write them, speaks to each upstream in its own way, balances requests over them, and
// sends a chosen share of the traffic to staging upstreams. It is a superset of Caddy's
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

// Handler is a route: production upstreams, optional staging upstreams beside them, and the
// share of the traffic that staging gets. Each upstream's address says how to speak to it; see
// the address table in the README.
//
// Every field of Caddy's http.handlers.reverse_proxy can stand beside the fields below. It
// means what it means there, for both groups, except that `dynamic_upstreams` and the
// `selection_policy` are only for production. These defaults are different: upstreams take
// turns by weight instead of being chosen at random. HTTPS upstreams, too, get the Host that
// the client sent. X-Real-IP is set to the client's address. Up to 256 idle connections to
// each upstream are kept instead of 32, and are shared with other routes that do not configure
// a transport. If both groups together have two or more upstreams, failed requests are retried
// on another one (`retries` 2, unless `retries` or `try_duration` is given), and an upstream
// that failed is avoided for 10 seconds, by this route only (or as passive health checks say,
// if they are written). Only an upstream's own failures count, not what a client did. If all
// upstreams are marked down, requests are tried on them all the same, but not on those that an
// active health check found down. docs/differences.md lists all differences, and says how to
// get reverse_proxy's behavior back.
//
// It sets two placeholders, for header_up, header_down, access logs and later handlers:
//
// Placeholder | Description
// ------------|------------
// `{http.proxyos.group}` | The group that finally served the request: production or staging
// `{http.proxyos.route}` | The name of the route; empty if it has none
type Handler struct {
	// The name of the route in logs, metrics, commands and the admin API. The split of a named
	// route can be changed while it runs. Through reloads, the route keeps its place in the
	// split, its counters and what it knows about dead upstreams. 1 to 64 letters, digits, '-',
	// '_' and '.', the first a letter or digit. No two routes of a config can have the same name.
	// No placeholders. Default: none.
	Name string `json:"name,omitempty"`

	// The production upstreams. Required, unless there are dynamic ones. At least one must have
	// a weight above 0. The same address can stand here and in staging, if it means the same
	// in both.
	Upstreams []Upstream `json:"upstreams,omitempty"`

	// The staging upstreams. Needs a TrafficSplit, StagingWhen or Name: otherwise no request
	// could ever go there. Default: none, all traffic goes to production.
	Staging *Group `json:"staging,omitempty"`

	// The percentage of requests that go to staging, from 0 to 100, decimals allowed. At every
	// moment, staging has had its share of the requests so far, half a request off at most.
	// Requests that StagingWhen, ProductionWhen or Sticky decides are not counted. A share that
	// is set while the route runs replaces this one until it is reset or this one is edited.
	// Needs a staging group. Default: 0.
	TrafficSplit *float64 `json:"traffic_split,omitempty"`

	// Whether to leave the certificates of the route's HTTPS upstreams unchecked (true), or
	// to check them, even if a detected port would leave them unchecked (false). A group or an
	// upstream can override it for itself. It never turns TLS on, and does not concern the
	// client's connection to Caddy. Default: unset.
	SkipTLSVerify *bool `json:"skip_tls_verify,omitempty"`

	// Keeps each client in one group. Needs a staging group. Default: every request is decided
	// on its own.
	Sticky *Sticky `json:"sticky,omitempty"`

	// Requests that go to staging whatever the split is, unless they match ProductionWhen. One
	// matcher set, or a list of which one must match. Needs a staging group. Default: none.
	StagingWhen matcherSets `json:"staging_when,omitempty" caddy:"namespace=http.matchers"`

	// Requests that go to production whatever the split is, even if they match StagingWhen. One
	// matcher set, or a list of which one must match. Needs a staging group. Default: none.
	ProductionWhen matcherSets `json:"production_when,omitempty" caddy:"namespace=http.matchers"`

	// Whether production takes over staging's requests while no staging upstream is available,
	// and those that fail there and may be retried: the last retry goes to production.
	// Production's requests never go to staging. Needs a staging group. Default: true.
	StagingFallback *bool `json:"staging_fallback,omitempty"`

	// How the share of staging rises by itself when somebody starts a release, and is taken back where
	// staging fails. It begins at its first step, whatever TrafficSplit says. An empty object has all
	// defaults. Needs a Name and a staging group. Default: none.
	Release *Release `json:"release,omitempty"`

	// How long an upstream that comes back takes to warm up: one that was down, that is ready after
	// it was drained, or that is new in a group of which the config before had others. Its share of
	// its turns rises evenly from 10 % to all; the others serve the rest by weight. The group's share
	// stays what it is. Where all of a group come back at once, none warms up. Only with the default
	// load balancing policy. From 1s to 24h. Default: 0, at once.
	SlowStart caddy.Duration `json:"slow_start,omitempty"`

	// Which upstreams are out for a while because they fail much more often than the others of their
	// group. Not with a transport other than http. Default: none.
	Eject *Eject `json:"eject,omitempty"`

	// How many requests may be sent again. Those above it get the answer or the error that there
	// is. Default: 20 % of the requests, and 10 a second in any case; no limit where `retries` or
	// `try_duration` is given.
	RetryBudget *RetryBudget `json:"retry_budget,omitempty"`

	// How many bytes of a request's body are kept, so that another upstream can be sent all of
	// it where one has failed: of those requests that may be repeated, which are GET, or instead
	// what `retry_match` says. A request with a longer body is not retried once some of it has been
	// sent. No more than 16 MiB are kept for all requests of a route together. From 0, which
	// keeps nothing, to 16777216. Default: 65536.
	RetryBuffer *int64 `json:"retry_buffer,omitempty"`

	// Whether requests may take the fast ways to an upstream, where nothing that is configured
	// keeps them off: a connection of this module's own, and for plain requests a short way
	// past reverse_proxy. Nobody can tell the difference but by the time that it takes; off is
	// for finding out whether they are to blame for something. Default: what the app's
	// fast_path says.
	FastPath *bool `json:"fast_path,omitempty"`

	// The fields that belong to reverse_proxy, by name.
	ReverseProxy map[string]json.RawMessage `json:"-"`

	mistake error  // in the JSON
	route   *route // set by Provision
}

// Group is a group of upstreams. In JSON it describes staging; production's fields are those of
// the handler.
type Group struct {
	// The upstreams. Required, unless there are dynamic ones. At least one must have a weight
	// above 0.
	Upstreams []Upstream `json:"upstreams,omitempty"`

	// A source of upstreams that are known only at request time, as in reverse_proxy.
	// Default: none.
	DynamicUpstreamsRaw json.RawMessage `json:"dynamic_upstreams,omitempty" caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`

	// How an upstream of this group is chosen. Retries belong to the route. Default: upstreams
	// take turns by weight.
	LoadBalancing *GroupLoadBalancing `json:"load_balancing,omitempty"`

	// Whether to leave the certificates of this group's HTTPS upstreams unchecked (true), or
	// to check them (false), whatever the route says. An upstream can override it for itself.
	// Default: unset, as the route says.
	SkipTLSVerify *bool `json:"skip_tls_verify,omitempty"`
}

// GroupLoadBalancing is the part of reverse_proxy's load balancing that each group has of its
// own.
type GroupLoadBalancing struct {
	// Any of Caddy's selection policies. Each group has its own state of it. Default:
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

// Provision makes a plan of the handler, and loads its route.
func (h *Handler) Provision(ctx caddy.Context) error {
	ctx = ownContext(ctx)
	loaded, err := ctx.App("proxyos")
	if err != nil {
		return err
	}
	app := loaded.(*App)
	where := app.places.find(ctx)
	return where.explain(h.Name, h.load(ctx, app, where))
}

func (h *Handler) load(ctx caddy.Context, app *App, where place) error {
	p, err := newPlan(h, app.defaults)
	if err != nil {
		return err
	}
	h.route = newRoute(p, app.steering, ctx.Logger())
	h.route.place = where
	h.route.events, h.route.origin = app.events, ctx
	h.route.title = app.routes.title(h.route, p.firstAddress())
	if twin := app.routes.named(h.Name); twin != nil {
		h.route.isNew = twin.isNew
	}
	if err := h.route.load(ctx, p, app.lanes); err != nil {
		return err
	}
	h.route.warnUnchecked(p.unchecked()...)
	h.route.warnPlaceholders()
	if p.idleChecks() {
		ctx.Logger().Warn(idleChecksWarning, zap.String("route", h.route.title))
	}
	return app.routes.add(h.route, h, p.firstAddress())
}

// Cleanup releases what the route has acquired.
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

// tellLatencies implements timedHandler.
func (h *Handler) tellLatencies(to *answerTimes) { h.route.latencies = append(h.route.latencies, to) }

// Interface guards
var (
	_ timedHandler                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ json.Unmarshaler            = (*Handler)(nil)
	_ json.Marshaler              = (*Handler)(nil)
	_ checkedHandler              = (*Handler)(nil)
)
