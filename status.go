package proxyos

import (
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// routeStatus is what the admin API tells of a route.
type routeStatus struct {
	Name            string          `json:"name"`                     // empty: the route cannot be steered
	TrafficSplit    float64         `json:"traffic_split"`            // the percentage in force
	ConfiguredSplit float64         `json:"configured_traffic_split"` // the percentage in the config
	Override        *overrideStatus `json:"override,omitempty"`       // if one is in force
	Fallbacks       uint64          `json:"fallbacks"`                // requests that production took over
	Groups          []groupStatus   `json:"groups"`
}

// overrideStatus is the split that was set while the route runs.
type overrideStatus struct {
	TrafficSplit float64   `json:"traffic_split"`
	SetAt        time.Time `json:"set_at"`
	SetBy        string    `json:"set_by,omitempty"`
}

// groupStatus is one group of a route. Errors are requests answered with a status of 500
// or more.
type groupStatus struct {
	Name      string           `json:"name"`
	Dynamic   bool             `json:"dynamic,omitempty"` // it has upstreams that are not listed here
	Requests  uint64           `json:"requests"`
	Errors    uint64           `json:"errors"`
	InFlight  int64            `json:"in_flight"`
	Upstreams []upstreamStatus `json:"upstreams"`
}

// upstreamStatus is one upstream of a group. Requests are attempts, and errors those that
// failed.
type upstreamStatus struct {
	Address   string `json:"address"`
	Dial      string `json:"dial"`
	Scheme    string `json:"scheme"`
	TLSVerify *bool  `json:"tls_verify,omitempty"` // only for https
	Weight    int    `json:"weight"`
	Health    string `json:"health"` // up, down or full
	InFlight  int    `json:"in_flight"`
	Requests  uint64 `json:"requests"`
	Errors    uint64 `json:"errors"`

	// What an upstream whose certificate is not checked showed in the latest handshake.
	Certificate *certs.Description `json:"certificate,omitempty"`
}

func (h *Handler) status() routeStatus {
	s := routeStatus{
		Name:            h.Name,
		TrafficSplit:    h.split.current().percent,
		ConfiguredSplit: h.split.configured.percent,
		Fallbacks:       h.state.fallbacks.Load(),
	}
	if o := h.split.override.Load(); o != nil && h.split.current() == &o.share {
		s.Override = &overrideStatus{TrafficSplit: o.share.percent, SetAt: o.Set, SetBy: o.By}
	}
	for i, g := range h.groups {
		state := &h.state.groups[i]
		group := groupStatus{Name: g.name, Dynamic: g.dynamic != nil, InFlight: state.inFlight.Load(), Upstreams: []upstreamStatus{}}
		group.Requests, group.Errors = state.totals()
		for n, b := range g.backends {
			group.Upstreams = append(group.Upstreams, h.upstreamStatus(g, b, g.pool[n]))
		}
		s.Groups = append(s.Groups, group)
	}
	return s
}

func (h *Handler) upstreamStatus(g *group, b backend, u *reverseproxy.Upstream) upstreamStatus {
	stats := h.stats[u]
	s := upstreamStatus{
		Address:  b.address.String(),
		Dial:     b.dial,
		Scheme:   b.scheme,
		Weight:   b.weight,
		Health:   "up",
		InFlight: u.NumRequests(),
		Requests: stats.requests.Load(),
		Errors:   stats.errors.Load(),
	}
	if b.scheme == address.HTTPS {
		s.TLSVerify = &b.verify
	}
	if t, ok := h.proxy.Transport.(*transport); ok {
		if shown, ok := t.certificateOf(b.dial); ok {
			s.Certificate = &shown
		}
	}
	switch {
	case !g.isHealthy(u):
		s.Health = "down"
	case u.Full():
		s.Health = "full"
	}
	return s
}
