package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
//
// A change applies from the next request on, and is in the storage before it is
// acknowledged. A PATCH may say in "by" who makes the change. One that sends more requests to a
// group that cannot serve any is refused, unless it says "force": true.
type adminAPI struct{}

// maxAdminBody is the maximum size of the body of a request.
const maxAdminBody = 64 << 10

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

func (a *adminAPI) serveRoute(w http.ResponseWriter, r *http.Request) error {
	escaped, isOverride := strings.CutSuffix(strings.TrimPrefix(r.URL.EscapedPath(), "/proxyos/routes/"), "/override")
	name, err := url.PathUnescape(escaped)
	if err != nil {
		return badRequest(err)
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	route := app.routes.named(name)
	if route == nil {
		return caddy.APIError{
			HTTPStatus: http.StatusNotFound,
			Err:        fmt.Errorf("there is no proxyos route named %q; GET /proxyos/routes lists all routes", name),
		}
	}
	switch {
	case isOverride && r.Method == http.MethodDelete:
		err = app.steering.reset(r.Context(), route, caller(r))
	case isOverride:
		return methodNotAllowed(w, r, http.MethodDelete)
	case r.Method == http.MethodGet:
	case r.Method == http.MethodPatch:
		err = a.patch(w, r, app.steering, route)
	default:
		return methodNotAllowed(w, r, http.MethodGet, http.MethodPatch)
	}
	if err != nil {
		return err
	}
	return respond(w, route.status())
}

// patch sets the split of a route.
func (*adminAPI) patch(w http.ResponseWriter, r *http.Request, steering *steering, route *route) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return caddy.APIError{HTTPStatus: http.StatusRequestEntityTooLarge, Err: fmt.Errorf("the body is larger than %d bytes", maxAdminBody)}
	}
	if err != nil {
		return badRequest(err)
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
	return steering.set(r.Context(), route, *change.TrafficSplit, change.By)
}

// change is the body of a PATCH.
type change struct {
	TrafficSplit *float64 `json:"traffic_split"`
	By           string   `json:"by"`
	Force        bool     `json:"force,omitempty"` // even if the group that is to get more cannot serve
}

func parseChange(body []byte) (change, error) {
	var c change
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return change{}, fmt.Errorf("decoding the body: %w; write {\"traffic_split\": 25}", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return change{}, errors.New("decoding the body: there is more than one value; write {\"traffic_split\": 25}")
	}
	if c.TrafficSplit == nil {
		return change{}, errors.New("traffic_split is missing; write {\"traffic_split\": 25}")
	}
	if err := checkPercent(*c.TrafficSplit); err != nil {
		return change{}, fmt.Errorf("traffic_split: %v %w", *c.TrafficSplit, err)
	}
	if len(c.By) > 200 {
		return change{}, fmt.Errorf("by: the text has %d bytes; write at most 200", len(c.By))
	}
	return c, nil
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
