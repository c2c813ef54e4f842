package proxyos

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// isLogin tells whether a handler lets only those pass who log in.
func isLogin(handler caddyhttp.MiddlewareHandler) bool {
	_, ok := handler.(*caddyauth.Authentication)
	return ok
}

// forwardAuth is what the directive forward_auth makes of reverse_proxy.
type forwardAuth struct {
	Rewrite struct {
		Method string `json:"method"`
	} `json:"rewrite"`
	HandleResponse []struct {
		Match struct {
			StatusCode []int `json:"status_code"`
		} `json:"match"`
	} `json:"handle_response"`
}

// isOne tells whether only answers with 2xx let a request pass.
func (f forwardAuth) isOne() bool {
	return f.Rewrite.Method == "GET" && len(f.HandleResponse) == 1 && slices.Equal(f.HandleResponse[0].Match.StatusCode, []int{2})
}

// isForwardAuth tells whether a handler lets only those pass whom another server knows.
func isForwardAuth(handler caddyhttp.MiddlewareHandler) bool {
	proxy, ok := handler.(*reverseproxy.Handler)
	if !ok || proxy.Rewrite == nil || proxy.Rewrite.Method != "GET" || len(proxy.HandleResponse) != 1 {
		return false
	}
	match := proxy.HandleResponse[0].Match
	return match != nil && slices.Equal(match.StatusCode, []int{2}) && len(match.Headers) == 0
}

// refuses tells whether a handler lets nobody pass.
func refuses(handler caddyhttp.MiddlewareHandler) bool {
	switch handler := handler.(type) {
	case *caddyhttp.StaticError:
		return true
	case *caddyhttp.StaticResponse:
		status, err := strconv.Atoi(string(handler.StatusCode))
		return handler.Abort || err == nil && status >= 400
	}
	return false
}

// isOfStrangers tells whether a route is for all addresses of clients but certain ones.
func isOfStrangers(route caddyhttp.Route) bool {
	if len(route.MatcherSets) != 1 || len(route.MatcherSets[0]) != 1 {
		return false
	}
	not, ok := route.MatcherSets[0][0].(*caddyhttp.MatchNot)
	return ok && len(not.MatcherSets) == 1 && len(not.MatcherSets[0]) == 1 && isByAddress(not.MatcherSets[0][0])
}

// isByAddress tells whether a matcher is for certain addresses of clients.
func isByAddress(matcher any) bool {
	switch matcher.(type) {
	case *caddyhttp.MatchRemoteIP, *caddyhttp.MatchClientIP:
		return true
	}
	return false
}

// matchesAll tells whether a route is taken by all requests for some paths, or for any path if there are none.
func matchesAll(route caddyhttp.Route, paths []string) bool {
	return len(route.MatcherSets) == 0 || slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(matcher any) bool {
			path, ok := matcher.(*caddyhttp.MatchPath)
			return !ok || !coverAll(*path, paths)
		})
	})
}

// coverAll tells whether patterns match whatever some paths match, or all if there are none.
func coverAll(patterns, paths []string) bool {
	covers := func(pattern, path string) bool {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		return pattern == path || isPrefix && !strings.ContainsAny(prefix, `*?[\`) && strings.HasPrefix(path, prefix) && (prefix == "" || prefix[0] == '/')
	}
	if len(paths) == 0 {
		paths = []string{"/*"}
	}
	return !slices.ContainsFunc(paths, func(path string) bool {
		return !slices.ContainsFunc(patterns, func(pattern string) bool { return covers(pattern, path) })
	})
}

// hasExactHosts tells whether a route is for certain hosts only, whichever of its matchers is met.
func hasExactHosts(route caddyhttp.Route) bool {
	return len(route.MatcherSets) > 0 && !slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(matcher any) bool {
			hosts, ok := matcher.(*caddyhttp.MatchHost)
			return ok && len(*hosts) > 0 && !slices.ContainsFunc(*hosts, func(host string) bool { return strings.ContainsAny(host, "*{") })
		})
	})
}

// isOnLoopback tells whether a server can be reached from its machine only. Another proxy may be in front of a socket.
func isOnLoopback(listeners []string) bool {
	return len(listeners) > 0 && !slices.ContainsFunc(listeners, func(text string) bool {
		listener, err := caddy.ParseNetworkAddress(text)
		if err != nil || !strings.HasPrefix(listener.Network, "tcp") {
			return true
		}
		ip := net.ParseIP(listener.Host)
		return listener.Host != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}

// wantsCertificates tells whether a server takes nobody for some hosts who has no certificate that it trusts; for any
// host if there are none. It is asked before the server's policies are loaded.
func wantsCertificates(server *caddyhttp.Server, hosts []string) bool {
	all := server.TLSConnPolicies
	first := func(host string) int {
		return slices.IndexFunc(all, func(p *caddytls.ConnectionPolicy) bool { return mayBeFor(p, host) })
	}
	if len(hosts) == 0 {
		return len(all) > 0 && !slices.ContainsFunc(all, func(p *caddytls.ConnectionPolicy) bool { return !wantsCertificate(p) })
	}
	return !slices.ContainsFunc(hosts, func(host string) bool {
		i := first(host)
		return i < 0 || !wantsCertificate(all[i])
	})
}

// wantsCertificate tells whether a policy takes nobody without a certificate of an authority that it names.
func wantsCertificate(p *caddytls.ConnectionPolicy) bool {
	auth := p.ClientAuthentication
	return auth != nil && (auth.Mode == "" || auth.Mode == "require_and_verify") &&
		len(auth.CARaw) > 0
}

// mayBeFor tells whether a policy may be the one for a host.
func mayBeFor(p *caddytls.ConnectionPolicy, host string) bool {
	raw, ok := p.MatchersRaw["sni"]
	if !ok {
		return true
	}
	var names []string
	return json.Unmarshal(raw, &names) != nil || slices.ContainsFunc(names, func(name string) bool {
		return strings.Contains(name, "{") || certmagic.MatchWildcard(strings.ToLower(host), strings.ToLower(name))
	})
}
