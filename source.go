package proxyos

import (
	"errors"
	"net/http"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(upstreamSource))
}

// upstreamSource is the route's guest in its reverse proxy that gathers the upstreams of
// its groups' dynamic sources. It has no configuration and cannot be used by itself.
type upstreamSource struct {
	route *Handler
}

// CaddyModule returns the Caddy module information.
func (*upstreamSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.proxyos",
		New: func() caddy.Module { return new(upstreamSource) },
	}
}

// Provision finds the route that s belongs to.
func (s *upstreamSource) Provision(ctx caddy.Context) (err error) {
	s.route, err = hostOf(ctx, "dynamic proxyos")
	return err
}

// UnmarshalCaddyfile refuses the source, which nobody but the handler can name.
func (*upstreamSource) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return refuseGuest(d, "dynamic proxyos")
}

// GetUpstreams returns the upstreams of the sources of all groups that the request may
// still go to, and notes in its journey which are whose.
func (s *upstreamSource) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	j := journeyOf(r)
	j.pools = make(map[*group]reverseproxy.UpstreamPool, len(s.route.groups))
	var all []*reverseproxy.Upstream
	for _, g := range s.route.groups {
		if g.dynamic == nil || g != j.group && !s.route.mayFallBack(j) {
			continue
		}
		upstreams, err := g.dynamic.GetUpstreams(r)
		if err != nil {
			if c := s.route.logger.Check(zapcore.ErrorLevel, "failed getting dynamic upstreams; falling back to the configured ones"); c != nil {
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
func (s *upstreamSource) ResetCache(r *http.Request) error {
	var all []error
	for _, g := range s.route.groups {
		if caching, ok := g.dynamic.(reverseproxy.CachingUpstreamSource); ok {
			all = append(all, caching.ResetCache(r))
		}
	}
	return errors.Join(all...)
}

// Interface guards
var (
	_ caddy.Provisioner                  = (*upstreamSource)(nil)
	_ caddyfile.Unmarshaler              = (*upstreamSource)(nil)
	_ reverseproxy.CachingUpstreamSource = (*upstreamSource)(nil)
)
