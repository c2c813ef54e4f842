package proxyos

import (
	"encoding/json"
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// guard is what keeps strangers away from a handler.
type guard int

const (
	noGuard  guard = iota
	loopback       // only this machine reaches it, but any page in its browser may try
	identity       // who they are, or where they come from
)

// guard tells what the config shows to keep strangers away from the handler that is being provisioned with a
// context. It must be sure of it: what guards only some requests, or in a way that it does not know, does not
// count.
func (f *placeFinder) guard(ctx caddy.Context) guard {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return noGuard
	}
	where := f.find(ctx)
	if wantsCertificates(server, where.hosts) {
		return identity
	}
	lists := []caddyhttp.RouteList{server.Routes}
	for _, module := range ctx.Modules() {
		if sub, ok := module.(*caddyhttp.Subroute); ok {
			lists = append(lists, sub.Routes)
		}
	}
	if slices.ContainsFunc(lists, func(routes caddyhttp.RouteList) bool { return f.guards(routes, where.paths) }) {
		return identity
	}
	if isOnLoopback(server.Listen) {
		return loopback
	}
	return noGuard
}

// guards tells whether a list of routes, one of which is being loaded, guards what is inside that for some
// paths.
func (f *placeFinder) guards(routes caddyhttp.RouteList, paths []string) bool {
	if len(routes) == 0 {
		return false
	}
	i := f.loading[&routes[0]]
	if i == len(routes) {
		return false
	}
	for _, earlier := range routes[:i] {
		switch {
		case slices.ContainsFunc(earlier.Handlers, identifies) && matchesAll(earlier, paths, nil):
			return true
		case slices.ContainsFunc(earlier.Handlers, refuses) && matchesAll(earlier, paths, isOfStrangers):
			return true
		}
	}
	inside := routes[i]
	if len(inside.MatcherSets) > 0 && !slices.ContainsFunc(inside.MatcherSets, func(set caddyhttp.MatcherSet) bool { return !slices.ContainsFunc(set, isByAddress) }) {
		return true
	}
	return identifiesRaw(inside.HandlersRaw)
}

// identifies tells whether a handler lets only those pass who say who they are.
func identifies(handler caddyhttp.MiddlewareHandler) bool {
	var proxy *reverseproxy.Handler
	switch handler := handler.(type) {
	case *caddyauth.Authentication:
		return true
	case *reverseproxy.Handler:
		proxy = handler
	default:
		return false
	}
	if proxy.Rewrite == nil || proxy.Rewrite.Method != "GET" || len(proxy.HandleResponse) == 0 {
		return false
	}
	match := proxy.HandleResponse[0].Match // as forward_auth has it
	return match != nil && slices.Equal(match.StatusCode, []int{2})
}

// identifiesRaw is identifies for handlers that are not loaded yet, up to the one that is.
func identifiesRaw(handlers []json.RawMessage) bool {
	for _, raw := range handlers {
		var handler struct {
			Handler string `json:"handler"`
			Rewrite struct {
				Method string `json:"method"`
			} `json:"rewrite"`
			HandleResponse []struct {
				Match struct {
					StatusCode []int `json:"status_code"`
				} `json:"match"`
			} `json:"handle_response"`
		}
		if json.Unmarshal(raw, &handler) != nil {
			return false
		}
		switch handler.Handler {
		case "authentication":
			return true
		case "reverse_proxy":
			if handler.Rewrite.Method == "GET" && len(handler.HandleResponse) > 0 && slices.Equal(handler.HandleResponse[0].Match.StatusCode, []int{2}) {
				return true
			}
		case "proxyos_dashboard", "subroute":
			return false
		}
	}
	return false
}

// refuses tells whether a handler lets nobody pass.
func refuses(handler caddyhttp.MiddlewareHandler) bool {
	switch handler.(type) {
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		return true
	}
	return false
}

// matchesAll tells whether a route is taken by all requests for some paths, or for any path if there are none, of
// which isFor is true if it is given.
func matchesAll(route caddyhttp.Route, paths []string, isFor func(any) bool) bool {
	if len(route.MatcherSets) == 0 {
		return isFor == nil
	}
	return slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		hasFound := isFor == nil
		for _, matcher := range set {
			path, isPath := matcher.(*caddyhttp.MatchPath)
			switch {
			case isPath && coverAll(*path, paths):
			case isFor != nil && isFor(matcher):
				hasFound = true
			default:
				return false
			}
		}
		return hasFound
	})
}

// coverAll tells whether patterns match whatever some paths match, or all if there are none.
func coverAll(patterns, paths []string) bool {
	covers := func(pattern, path string) bool {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		return pattern == path || isPrefix && !strings.Contains(prefix, "*") && strings.HasPrefix(path, prefix) && (prefix == "" || prefix[0] == '/')
	}
	if len(paths) == 0 {
		paths = []string{"/*"}
	}
	return !slices.ContainsFunc(paths, func(path string) bool {
		return !slices.ContainsFunc(patterns, func(pattern string) bool { return covers(pattern, path) })
	})
}

// isByAddress tells whether a matcher is for certain addresses of clients.
func isByAddress(matcher any) bool {
	switch matcher.(type) {
	case *caddyhttp.MatchRemoteIP, *caddyhttp.MatchClientIP:
		return true
	}
	return false
}

// isOfStrangers tells whether a matcher is for all addresses of clients but certain ones.
func isOfStrangers(matcher any) bool {
	not, ok := matcher.(*caddyhttp.MatchNot)
	return ok && len(not.MatcherSets) == 1 && len(not.MatcherSets[0]) == 1 && isByAddress(not.MatcherSets[0][0])
}

// isLocalName tells whether a request is for a name that only stands for this machine. Others could be pointed to
// it by a page that wants to use what only this machine reaches.
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// isOnLoopback tells whether a server can be reached from its machine only.
func isOnLoopback(listeners []string) bool {
	return len(listeners) > 0 && !slices.ContainsFunc(listeners, func(text string) bool {
		listener, err := caddy.ParseNetworkAddress(text)
		if err != nil || listener.IsUnixNetwork() { // another proxy may be in front of the socket
			return true
		}
		ip := net.ParseIP(listener.Host)
		return listener.Host != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}

// wantsCertificates tells whether a server takes nobody for some hosts who has no certificate that it trusts; for any
// host if there are none. It is asked before the server's policies are loaded.
func wantsCertificates(server *caddyhttp.Server, hosts []string) bool {
	wants := func(p *caddytls.ConnectionPolicy) bool {
		auth := p.ClientAuthentication
		return auth != nil && auth.Active() && (auth.Mode == "" || auth.Mode == "require_and_verify")
	}
	all := server.TLSConnPolicies
	if len(all) == 0 || !slices.ContainsFunc(all, func(p *caddytls.ConnectionPolicy) bool { return !wants(p) }) {
		return len(all) > 0
	}
	if len(hosts) == 0 || server.StrictSNIHost != nil && !*server.StrictSNIHost { // others may ask for what they did not name
		return false
	}
	return !slices.ContainsFunc(hosts, func(host string) bool {
		first := slices.IndexFunc(all, func(p *caddytls.ConnectionPolicy) bool { return mayBeFor(p, host) })
		return first < 0 || !wants(all[first])
	})
}

// mayBeFor tells whether a policy may be the one for a host.
func mayBeFor(p *caddytls.ConnectionPolicy, host string) bool {
	raw, ok := p.MatchersRaw["sni"]
	if !ok {
		return true
	}
	var names []string
	return json.Unmarshal(raw, &names) != nil || slices.ContainsFunc(names, func(name string) bool {
		return strings.EqualFold(name, host) || strings.ContainsAny(name, "*{")
	})
}
