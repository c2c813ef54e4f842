package proxyos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// adminAPI is the part of Caddy's admin API that watches and steers routes:
//
//	GET    /proxyos/                       the versions of what is running
//	GET    /proxyos/routes                 all routes
//	GET    /proxyos/routes/{name}          one route
//	PATCH  /proxyos/routes/{name}          {"traffic_split": 25} sets the split
//	GET    /proxyos/instances              all instances of the cluster
//	DELETE /proxyos/routes/{name}/override goes back to the configured split
//	PATCH  /proxyos/routes/{name}/upstreams/{dial}
//	                                       {"state": "drain"}, {"state": "ready"}, {"weight": 3}
//	DELETE /proxyos/routes/{name}/upstreams/{dial}/override
//	                                       goes back to what is configured for the upstream
//	POST   /proxyos/routes/{name}/upstreams/{dial}/probe
//	                                       looks at the upstream as `caddy proxyos probe` does
//	GET    /proxyos/routes/{name}/release  where the release of the route is
//	POST   /proxyos/routes/{name}/release  {"action": "start"}, "pause", "resume" or "abort";
//	                                       {"action": "approve", "percent": 50}
//
//	GET    /proxyos/dashboard              what a dashboard shows; its form may change
//
// An upstream is named by its dial address, or by its address as it is shown. A change applies
// from the next request on, and is in the storage before it is acknowledged. A PATCH may say in "by"
// who makes the change, and in "seen" which version it changes, as the dashboard has it: if that is another one by
// now, nothing is changed. A DELETE says both in its query. One that sends more requests to a group that cannot serve any, or that leaves
// production without upstreams, is refused, unless it says "force": true.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.proxyos",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes returns the routes of the admin API.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/proxyos/", Handler: caddy.AdminHandlerFunc(a.serveVersion)},
		{Pattern: "/proxyos/routes", Handler: caddy.AdminHandlerFunc(a.serveList)},
		{Pattern: "/proxyos/dashboard", Handler: caddy.AdminHandlerFunc(a.serveDashboard)},
		{Pattern: "/proxyos/instances", Handler: caddy.AdminHandlerFunc(a.serveInstances)},
		{Pattern: "/proxyos/routes/", Handler: caddy.AdminHandlerFunc(a.serveRoute)},
	}
}

func (a *adminAPI) serveList(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return methodNotAllowed(w, r, http.MethodGet)
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	routes := []routeStatus{}
	for _, route := range app.routes.inOrder() {
		routes = append(routes, route.status())
	}
	return respond(w, routes)
}

// routePath is what a path below /proxyos/routes/ names.
type routePath struct {
	route      string
	isUpstream bool // or the route itself
	isRelease  bool // of the route
	upstream   string
	isOverride bool
	isProbe    bool // of the upstream
}

// parseRoutePath reads a path. Slashes of an upstream's address are best written as %2F: Go's server
// redirects paths that have two of them in a row.
func parseRoutePath(escaped string) (routePath, error) {
	var parts []string
	for part := range strings.SplitSeq(escaped, "/") {
		text, err := url.PathUnescape(part)
		if err != nil {
			return routePath{}, badRequest(err)
		}
		parts = append(parts, text)
	}
	var path routePath
	if len(parts) > 1 && parts[len(parts)-1] == "override" {
		path.isOverride, parts = true, parts[:len(parts)-1]
	}
	if len(parts) == 2 && parts[1] == "release" && !path.isOverride {
		path.isRelease, parts = true, parts[:1]
	}
	if len(parts) > 3 && parts[1] == "upstreams" && parts[len(parts)-1] == "probe" && !path.isOverride {
		path.isProbe, parts = true, parts[:len(parts)-1]
	}
	if len(parts) > 2 && parts[1] == "upstreams" {
		path.isUpstream, path.upstream, parts = true, strings.Join(parts[2:], "/"), parts[:1]
	}
	path.route = strings.Join(parts, "/")
	return path, nil
}

func (a *adminAPI) serveRoute(w http.ResponseWriter, r *http.Request) error {
	path, err := parseRoutePath(strings.TrimPrefix(r.URL.EscapedPath(), "/proxyos/routes/"))
	if err != nil {
		return err
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	route := app.routes.named(path.route)
	if route == nil {
		return caddy.APIError{
			HTTPStatus: http.StatusNotFound,
			Err:        fmt.Errorf("there is no proxyos route named %q; GET /proxyos/routes lists all routes", path.route),
		}
	}
	if path.isRelease {
		if err := a.serveRelease(w, r, app.steering, route); err != nil {
			return err
		}
		return respond(w, route.toldRelease())
	}
	if path.isProbe {
		return a.serveProbe(w, r, route, path.upstream)
	}
	if path.isUpstream {
		err = a.serveUpstream(w, r, app.steering, route, path)
	} else {
		err = a.serveShare(w, r, app.steering, route, path)
	}
	if err != nil {
		return err
	}
	return respond(w, route.status())
}

// serveShare watches and steers a route's share.
func (a *adminAPI) serveShare(w http.ResponseWriter, r *http.Request, steering *steering, route *route, path routePath) error {
	switch {
	case path.isOverride && r.Method == http.MethodDelete:
		by, seen, err := ofQuery(r)
		if err != nil {
			return err
		}
		return steering.reset(r.Context(), route, by, seen)
	case path.isOverride:
		return methodNotAllowed(w, r, http.MethodDelete)
	case r.Method == http.MethodGet:
		return nil
	case r.Method == http.MethodPatch:
		return a.patch(w, r, steering, route)
	}
	return methodNotAllowed(w, r, http.MethodGet, http.MethodPatch)
}

// serveUpstream steers an upstream of a route.
func (a *adminAPI) serveUpstream(w http.ResponseWriter, r *http.Request, steering *steering, route *route, path routePath) error {
	dial, ok := route.upstreamAt(path.upstream)
	if !ok {
		return caddy.APIError{
			HTTPStatus: http.StatusNotFound,
			Err:        fmt.Errorf("route %q has no upstream %q; GET /proxyos/routes/%s lists those that it has", route.name, path.upstream, url.PathEscape(route.name)),
		}
	}
	switch {
	case path.isOverride && r.Method == http.MethodDelete:
		by, seen, err := ofQuery(r)
		if err != nil {
			return err
		}
		return steering.resetUpstream(r.Context(), route, dial, upstreamChange{By: by, Seen: seen, Force: r.URL.Query().Get("force") == "true"})
	case path.isOverride:
		return methodNotAllowed(w, r, http.MethodDelete)
	case r.Method != http.MethodPatch:
		return methodNotAllowed(w, r, http.MethodPatch)
	case route.configured(dial) == "":
		return caddy.APIError{HTTPStatus: http.StatusNotFound,
			Err: fmt.Errorf("route %q no longer has the upstream %q; DELETE its override to forget what is set for it", route.name, path.upstream)}
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	change, err := parseUpstreamChange(body)
	if err != nil {
		return badRequest(err)
	}
	if change.By == "" {
		change.By = caller(r)
	}
	return steering.setUpstream(r.Context(), route, dial, change)
}

// patch sets the split of a route.
func (*adminAPI) patch(w http.ResponseWriter, r *http.Request, steering *steering, route *route) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	change, err := parseChange(body)
	if err != nil {
		return badRequest(err)
	}
	if change.By == "" {
		change.By = caller(r)
	}
	if !change.Force {
		if err := route.refuse(r.Context(), *change.TrafficSplit); err != nil {
			return err
		}
	}
	return steering.set(r.Context(), route, *change.TrafficSplit, change.By, change.Seen)
}

// ofQuery returns who makes a change without a body, and which version of it they have seen.
func ofQuery(r *http.Request) (by, seen string, err error) {
	query := r.URL.Query()
	if err := checkBy(query.Get("by")); err != nil {
		return "", "", badRequest(err)
	}
	return cmp.Or(query.Get("by"), caller(r)), query.Get("seen"), nil
}

// caller returns the address that a change came from. Over a unix socket there is none.
func caller(r *http.Request) string {
	if r.RemoteAddr == "" || strings.HasPrefix(r.RemoteAddr, "@") {
		return "unix socket"
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return host
}

func badRequest(err error) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
}

func methodNotAllowed(w http.ResponseWriter, r *http.Request, allowed ...string) error {
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return caddy.APIError{
		HTTPStatus: http.StatusMethodNotAllowed,
		Err:        fmt.Errorf("method %s is not allowed here; use %s", r.Method, strings.Join(allowed, " or ")),
	}
}

func respond(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// Interface guards
var _ caddy.AdminRouter = (*adminAPI)(nil)
