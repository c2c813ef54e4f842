package proxyos

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/proxyos/caddy-proxyos/internal/dashboard"
)

func init() {
	caddy.RegisterModule(new(Dashboard))
	httpcaddyfile.RegisterHandlerDirective("proxyos_dashboard", parseDashboard)
	httpcaddyfile.RegisterDirectiveOrder("proxyos_dashboard", httpcaddyfile.Before, "metrics")
}

// Dashboard is a handler that serves a page on which the routes of the config are watched and, if that is
// allowed, steered. It belongs into a site of the operator's own, or below a path of one that ends with a
// slash; all its links are relative. Guard it as you would guard a shell: who may steer it decides which
// version of a service everybody gets.
//
// What is done is done as if by the admin API, by the user that an authentication handler before it has
// found, or by the address of the browser.
type Dashboard struct {
	// Whether routes and upstreams can be steered on the page. It must then be behind an authentication that
	// the config shows: basic_auth, forward_auth, client certificates, remote_ip, or a listener on loopback.
	// Default: false.
	Controls bool `json:"controls,omitempty"`

	// Says that the page is guarded in a way that the config does not show, such as by a firewall, and may be
	// steered by all who reach it. Only with controls. Default: false.
	AllowUnauthenticated bool `json:"allow_unauthenticated,omitempty"`

	// The title of the page, 100 characters at most. Default: proxyos.
	Title string `json:"title,omitempty"`

	server *dashboard.Server
	guard  guard
}

// CaddyModule returns the Caddy module information.
func (*Dashboard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.proxyos_dashboard",
		New: func() caddy.Module { return new(Dashboard) },
	}
}

// Provision finds what there is to show, and whether the config guards the page.
func (d *Dashboard) Provision(ctx caddy.Context) error {
	loaded, err := ctx.App("proxyos")
	if err != nil {
		return err
	}
	app := loaded.(*App)
	where := app.places.find(ctx)
	if !d.AllowUnauthenticated {
		d.guard = app.places.guard(ctx)
	}
	if d.Controls && !d.AllowUnauthenticated && d.guard.by == noGuard {
		return where.explain("", errUnguarded)
	}
	if len(where.paths) == 0 {
		app.boards = append(app.boards, where)
	}
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	d.server = dashboard.NewServer(app.dashboards(server), dashboard.Options{
		Title: d.Title, Controls: d.Controls, By: visitor,
		ReadOnlyWhy: "this page only shows; `controls on` in its config lets it steer, too",
	})
	return nil
}

var errUnguarded = errors.New("proxyos_dashboard: `controls on` lets everybody who reaches the page steer the routes: put `basic_auth`, `forward_auth`, " +
	"or a matcher of `remote_ip` before it, ask for client certificates, or have its site listen on loopback only (`bind 127.0.0.1`); " +
	"or write `allow_unauthenticated` if something that this config does not show guards it; docs/dashboard.md says what counts")

// warnBoards warns of dashboards that keep all requests from a route of the same site, as where the directive is beside
// proxyos without a path.
func (a *App) warnBoards() {
	for _, board := range a.boards {
		for _, route := range a.routes.inOrder() {
			if route.place.server == board.server && slices.Equal(route.place.hosts, board.hosts) && comparePlaces(board, route.place) <= 0 {
				route.logger.Warn("a dashboard answers all requests of this site, so that the route gets none; put it below a path, such as `handle_path /proxyos/*`",
					zap.String("route", route.title), zap.String("site", board.String()))
			}
		}
	}
}

// maxTitle is the largest length of a title, in characters.
const maxTitle = 100

// Validate rejects titles that are too long, and what has no effect.
func (d *Dashboard) Validate() error {
	if n := len([]rune(d.Title)); n > maxTitle {
		return fmt.Errorf("proxyos_dashboard: title: the text has %d characters; write at most %d", n, maxTitle)
	}
	if d.AllowUnauthenticated && !d.Controls {
		return errors.New("proxyos_dashboard: allow_unauthenticated has no effect without `controls on`; remove it, or write that, too")
	}
	return nil
}

// ServeHTTP serves the page and what it consists of.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if err := d.guard.admits(r); err != nil {
		http.Error(w, "This dashboard is not for you: "+err.Error()+".", http.StatusForbidden)
		return nil
	}
	if isWithoutSlash(r) {
		w.Header().Set("Location", "./"+path.Base(originalPath(r))+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	d.server.ServeHTTP(w, r)
	return nil
}

// isWithoutSlash tells whether a request is for the page below a path, such as /proxyos, that lacks the slash at its
// end, and so would have wrong links.
func isWithoutSlash(r *http.Request) bool {
	was := originalPath(r)
	return r.Method == http.MethodGet && (r.URL.Path == "" || strings.HasSuffix(r.URL.Path, "/")) && was != "" && !strings.HasSuffix(was, "/")
}

// originalPath returns the path of a request, escaped, before the config has changed it.
func originalPath(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.URL.EscapedPath()
	}
	return r.URL.EscapedPath()
}

// userOf returns the user that an authentication handler has found, or nothing.
func userOf(r *http.Request) string {
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if user, ok := replacer.GetString("http.auth.user.id"); ok {
			return user
		}
	}
	return ""
}

// visitor returns who makes a change: the user of a request, or the address that it comes from. It is cut to what the
// admin API takes.
func visitor(r *http.Request) string {
	by := userOf(r)
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		by = cmp.Or(by, address)
	}
	by = cmp.Or(by, hostOf(r.RemoteAddr))
	return by[:min(len(by), maxBy)]
}

// dashboardBlock is what the directive takes.
var dashboardBlock = block[Dashboard]{
	{"controls [on|off]", once, func(p *parser, d *Dashboard) error {
		var on *bool
		if err := p.onOff(&on); err != nil {
			return err
		}
		d.Controls = *on
		return nil
	}},
	{"allow_unauthenticated", once, func(p *parser, d *Dashboard) error {
		if p.NextArg() {
			return errArgumentCount
		}
		d.AllowUnauthenticated = true
		return nil
	}},
	{"title <text>", once, func(p *parser, d *Dashboard) error {
		if !p.AllArgs(&d.Title) {
			return errArgumentCount
		}
		return nil
	}},
}

// parseDashboard sets up the handler from Caddyfile tokens. Syntax:
//
//	proxyos_dashboard [<matcher>] {
//	    # what dashboardBlock lists
//	}
func parseDashboard(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive
	if h.NextArg() {
		return nil, h.Errf("proxyos_dashboard takes a block, not %q", h.Val())
	}
	d := new(Dashboard)
	if err := dashboardBlock.parse(newParser(h, "proxyos_dashboard"), d); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, h.WrapErr(err)
	}
	return d, nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Dashboard)(nil)
	_ caddy.Validator             = (*Dashboard)(nil)
	_ caddyhttp.MiddlewareHandler = (*Dashboard)(nil)
)
