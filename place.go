package proxyos

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// place is where a route is in the configuration.
type place struct {
	server string
	port   string   // at which it listens; empty if that goes without saying, and if it has several
	hosts  []string // of the innermost matcher around it that has some
	paths  []string // likewise
	order  []int    // which of the server's routes, which of the routes inside that, and so on
}

// placeFinder finds out where a handler is that is being provisioned. Caddy does not say; but it
// drops the JSON of a route's handlers when it has loaded them all, one route after the other. So
// the first route that still has its JSON is the one that is being loaded. The zero value is for
// one configuration.
type placeFinder struct {
	loading map[*caddyhttp.Route]int // the index found last, by the first of a list of routes; those before it are loaded
}

// find returns the place of the handler that is being provisioned with a context.
func (f *placeFinder) find(ctx caddy.Context) place {
	var p place
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		p.server, p.port = server.Name(), toldPort(server.Listen)
		if !f.enter(&p, server.Routes, 0) && server.Errors != nil {
			f.enter(&p, server.Errors.Routes, len(server.Routes))
		}
	}
	for _, module := range ctx.Modules() {
		sub, ok := module.(*caddyhttp.Subroute)
		if !ok {
			continue
		}
		if !f.enter(&p, sub.Routes, 0) && sub.Errors != nil {
			f.enter(&p, sub.Errors.Routes, len(sub.Routes))
		}
	}
	return p
}

// enter has a place go into the route of a list that is being loaded, if there is one.
func (f *placeFinder) enter(p *place, routes caddyhttp.RouteList, before int) bool {
	if len(routes) == 0 {
		return false
	}
	i := f.loading[&routes[0]]
	for i < len(routes) && len(routes[i].HandlersRaw) == 0 {
		i++
	}
	if f.loading == nil {
		f.loading = make(map[*caddyhttp.Route]int)
	}
	f.loading[&routes[0]] = i
	if i == len(routes) {
		return false
	}
	p.enter(&routes[i])
	p.order = append(p.order, before+i)
	return true
}

// enter goes into a route.
func (p *place) enter(r *caddyhttp.Route) {
	var hosts, paths []string
	for _, set := range r.MatcherSets {
		for _, matcher := range set {
			switch matcher := matcher.(type) {
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *matcher...)
			case *caddyhttp.MatchPath:
				paths = append(paths, *matcher...)
			}
		}
	}
	p.narrow(hosts, paths)
}

// narrow goes into a route with these matchers.
func (p *place) narrow(hosts, paths []string) {
	if len(hosts) > 0 {
		p.hosts = hosts
	}
	if len(paths) > 0 {
		p.paths = paths
	}
}

// String says where the route is: the site and the path, or the server if it is one for all sites.
func (p place) String() string {
	where := "server " + p.server
	if len(p.hosts) > 0 {
		where = "site " + p.site()
	}
	if len(p.paths) > 0 {
		where += ", path " + brief(p.paths)
	}
	return where
}

// holder is the route that has a name already.
type holder struct {
	place         *place
	firstUpstream string
}

func (h holder) String() string {
	return "of " + h.place.String() + ", with the upstream " + h.firstUpstream
}

// explain adds to an error of a route what Caddy's own words before it, a server and some numbers,
// do not say.
func (p place) explain(name string, err error) error {
	if checkName(name) != nil {
		name = ""
	}
	isSite := len(p.hosts) > 0 || len(p.paths) > 0
	switch {
	case err == nil, name == "" && !isSite:
		return err
	case name == "":
		return fmt.Errorf("%s: %w", p, err)
	case !isSite:
		return fmt.Errorf("route %s: %w", name, err)
	}
	return fmt.Errorf("route %s of %s: %w", name, p, err)
}

// label stands for a route that has no name: its site and path, or the address of its first
// upstream.
func (p *place) label(firstUpstream string) string {
	if len(p.hosts) == 0 && len(p.paths) == 0 {
		return firstUpstream
	}
	host, path := p.site(), brief(p.paths)
	if path != "" && !strings.HasPrefix(path, "/") {
		path = " " + path // such as *.php
	}
	return strings.TrimSpace(host + path)
}

// site names the hosts, as the address of a site does.
func (p place) site() string {
	if len(p.hosts) == 0 || p.port == "" {
		return brief(p.hosts)
	}
	return brief(append([]string{net.JoinHostPort(p.hosts[0], p.port)}, p.hosts[1:]...))
}

// toldPort returns the port of a server's listeners, if an address without it would mean another.
func toldPort(listeners []string) string {
	if len(listeners) != 1 {
		return ""
	}
	listener, err := caddy.ParseNetworkAddress(listeners[0])
	if err != nil || listener.IsUnixNetwork() || listener.IsFdNetwork() || listener.PortRangeSize() != 1 {
		return ""
	}
	if port := portText(listener.StartPort); port != "80" && port != "443" {
		return port
	}
	return ""
}

// brief names the first of several, and says how many more there are.
func brief(all []string) string {
	switch len(all) {
	case 0:
		return ""
	case 1:
		return all[0]
	}
	return all[0] + " +" + strconv.Itoa(len(all)-1)
}

// comparePlaces orders routes as the configuration has them. Caddy names its servers srv0, srv1
// and so on.
func comparePlaces(a, b place) int {
	return cmp.Or(compareServers(a.server, b.server), slices.Compare(a.order, b.order))
}

func compareServers(a, b string) int {
	numberA, errA := strconv.Atoi(strings.TrimPrefix(a, "srv"))
	numberB, errB := strconv.Atoi(strings.TrimPrefix(b, "srv"))
	if errA == nil && errB == nil && numberA != numberB {
		return cmp.Compare(numberA, numberB)
	}
	return strings.Compare(a, b)
}
