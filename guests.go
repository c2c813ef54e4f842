package proxyos

import (
	"errors"
	"net/http"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// selectionPolicy is the guest in a route's reverse proxy that picks the upstream of each
// attempt: it asks the request's journey.
type selectionPolicy struct{}

// Select picks the upstream for the next attempt of a request, or nil if there is none. r is
// the reverse proxy's own copy of the request.
func (selectionPolicy) Select(_ reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	j := journeyOf(r)
	r.URL.Scheme = "" // the last attempt's, which may not be this one's
	if upstream, ok := j.handed.pick(); ok {
		setRealIP(r)
		return upstream
	}
	if len(j.tried) == 0 {
		setRealIP(r)
	}
	return j.attempt(r, w)
}

// setRealIP tells the upstream the client's address, whatever the client says of it.
func setRealIP(r *http.Request) {
	ip, ok := realIP(caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey))
	if !ok {
		delete(r.Header, "X-Real-Ip")
		return
	}
	r.Header["X-Real-Ip"] = []string{ip}
}

// realIP returns the address of a client, as Caddy knows it. One that came through a socket
// has none.
func realIP(known any) (ip string, ok bool) {
	ip, _ = known.(string)
	return ip, ip != "" && ip != "@"
}

// upstreamSource is the guest in a route's reverse proxy that gathers the upstreams of the
// groups' dynamic sources.
type upstreamSource struct{}

// GetUpstreams returns the upstreams of the sources of all groups that the request may
// still go to, and notes in its journey which are whose.
func (upstreamSource) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	j := journeyOf(r)
	j.pools = make(map[*group]reverseproxy.UpstreamPool, len(j.route.groups))
	var all []*reverseproxy.Upstream
	for _, g := range j.route.groups {
		if g.dynamic == nil || g != j.group && !j.mayFallBack() {
			continue
		}
		upstreams, err := g.dynamic.GetUpstreams(r)
		if err != nil {
			if c := j.route.logger.Check(zapcore.ErrorLevel, "failed getting dynamic upstreams; falling back to the configured ones"); c != nil {
				c.Write(zap.String("group", g.name), zap.Error(err))
			}
			continue
		}
		j.pools[g] = upstreams
		all = append(all, upstreams...)
	}
	return all, nil
}

// ResetCache forgets what the sources remember for the request, so that a retry does not
// meet the same failing upstreams.
func (upstreamSource) ResetCache(r *http.Request) error {
	var all []error
	for _, g := range journeyOf(r).route.groups {
		if caching, ok := g.dynamic.(reverseproxy.CachingUpstreamSource); ok {
			all = append(all, caching.ResetCache(r))
		}
	}
	return errors.Join(all...)
}

// Interface guards
var (
	_ reverseproxy.Selector              = selectionPolicy{}
	_ reverseproxy.CachingUpstreamSource = upstreamSource{}
)
