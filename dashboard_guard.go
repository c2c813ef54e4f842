package proxyos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// guard is what keeps strangers away from a dashboard.
type guard struct {
	by      guardKind
	isNamed bool // its site is for certain names only, which no page of others can have
}

type guardKind int

const (
	noGuard       guardKind = iota
	byLoopback              // only this machine reaches it, but any page in its browser may try
	byAddress               // only some addresses get to it, and so may pages in their browsers
	byForwardAuth           // another server has let them pass
	byLogin                 // an authentication handler knows who they are
	byCertificate           // they have shown a certificate
)

// admits returns an error if a request has not passed the guard. Whether the config really guards every way to
// the page is hard to tell, so what a guard leaves in a request is looked for, too.
func (g guard) admits(r *http.Request) error {
	switch g.by {
	case byLogin:
		if userOf(r) == "" {
			return errors.New("nobody is logged in")
		}
	case byCertificate:
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return errors.New("no client certificate was shown that is trusted")
		}
	case byLoopback:
		for _, field := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
			if r.Header.Get(field) != "" {
				return fmt.Errorf("another proxy has passed the request on, as its field %s says, and nothing else guards the page", field)
			}
		}
		if !g.isNamed && !isLocalName(r.Host) {
			return fmt.Errorf("%q is no name of this machine, which alone may use the page", r.Host)
		}
	case byAddress:
		if !g.isNamed && !isLocalName(r.Host) && net.ParseIP(hostOf(r.Host)) == nil {
			return fmt.Errorf("%q may be a name that somebody has pointed here; write the names of the page's site into its address, or use an IP address", r.Host)
		}
	}
	return nil
}

// guard tells what the config shows to keep strangers away from the handler that is being provisioned with a
// context. What guards only some requests, or in a way that it does not know, does not count.
func (f *placeFinder) guard(ctx caddy.Context) guard {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return guard{}
	}
	where := f.find(ctx)
	lists := []caddyhttp.RouteList{server.Routes}
	for _, module := range ctx.Modules() {
		if sub, ok := module.(*caddyhttp.Subroute); ok {
			lists = append(lists, sub.Routes)
		}
	}
	var g guard
	for _, routes := range lists {
		i, ok := f.inside(routes)
		if !ok {
			continue
		}
		g.isNamed = g.isNamed || hasExactHosts(routes[i])
		g.by = max(g.by, guardIn(routes[:i], routes[i], where.paths))
	}
	switch {
	case wantsCertificates(server, where.hosts):
		g.by = byCertificate
	case g.by == noGuard && isOnLoopback(server.Listen):
		g.by = byLoopback
	}
	return g
}

// inside returns which of some routes is being loaded, if one is.
func (f *placeFinder) inside(routes caddyhttp.RouteList) (i int, ok bool) {
	if len(routes) == 0 {
		return 0, false
	}
	i = f.loading[&routes[0]]
	return i, i < len(routes)
}

// guardIn tells what of a list of routes guards the one that is being loaded, for some paths.
func guardIn(before []caddyhttp.Route, inside caddyhttp.Route, paths []string) guardKind {
	by := identifiesRaw(inside.HandlersRaw)
	if len(inside.MatcherSets) > 0 && !slices.ContainsFunc(inside.MatcherSets, func(set caddyhttp.MatcherSet) bool { return !slices.ContainsFunc(set, isByAddress) }) {
		by = max(by, byAddress)
	}
	for _, route := range before {
		if route.Group != "" { // another one of its group may be taken instead
			continue
		}
		for _, handler := range route.Handlers {
			switch {
			case isLogin(handler) && matchesAll(route, paths):
				by = max(by, byLogin)
			case isForwardAuth(handler) && len(route.MatcherSets) == 0:
				by = max(by, byForwardAuth)
			case refuses(handler) && isOfStrangers(route):
				by = max(by, byAddress)
			}
		}
	}
	return by
}

// identifiesRaw tells what guard there is among handlers of one route that are not loaded yet, before the one with
// the page.
func identifiesRaw(handlers []json.RawMessage) (by guardKind) {
	for _, raw := range handlers {
		var handler struct {
			Handler string `json:"handler"`
			forwardAuth
		}
		if bytes.Contains(raw, []byte("proxyos_dashboard")) || json.Unmarshal(raw, &handler) != nil {
			return by
		}
		switch {
		case handler.Handler == "authentication":
			by = max(by, byLogin)
		case handler.Handler == "reverse_proxy" && handler.isOne():
			by = max(by, byForwardAuth)
		}
	}
	return by
}

// isLocalName tells whether a Host only stands for this machine. Another one could be a name that a page has pointed
// to it, to use what only this machine reaches.
func isLocalName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(hostOf(host)), ".")
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// hostOf returns a Host without its port.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
