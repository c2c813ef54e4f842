package proxyos

import (
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// routeStatus is what the admin API tells of a route.
type routeStatus struct {
	Name            string     `json:"name"`                       // empty: the route cannot be steered
	Label           string     `json:"label"`                      // the name, or what stands for it
	TrafficSplit    float64    `json:"traffic_split"`              // the percentage in force
	ConfiguredSplit float64    `json:"configured_traffic_split"`   // the percentage in the config
	Override        *setSplit  `json:"override,omitempty"`         // if one is in force
	StagingFallback *bool      `json:"staging_fallback,omitempty"` // whether production serves what staging cannot; only with a staging group
	Fallbacks       uint64     `json:"fallbacks"`                  // requests that production took over
	Retries         uint64     `json:"retries"`                    // attempts beyond the first, of all requests
	Unretried       uint64     `json:"retries_over_budget"`        // requests that were not sent again since the retry budget was used up
	Ways            waysStatus `json:"ways"`

	// Where its release is; nil if it has none configured and never had one.
	Release *releaseStatus `json:"release,omitempty"`

	Groups []groupStatus `json:"groups"`
}

// waysStatus counts the requests of both groups by the way that they took.
type waysStatus struct {
	Short        uint64 `json:"short"`
	ReverseProxy uint64 `json:"reverse_proxy"` // those, too, that it took over
}

// setSplit is the override in force.
type setSplit struct {
	TrafficSplit float64   `json:"traffic_split"`
	Against      float64   `json:"against"` // the configured percentage that it replaced
	SetAt        time.Time `json:"set_at"`
	SetBy        string    `json:"set_by,omitempty"`

	// Until when the override is in force, if it cannot be known whether this instance is
	// rolled out.
	UnclearUntil *time.Time `json:"unclear_until,omitempty"`
}

// groupStatus is one group of a route. Errors are requests answered with a status of 500
// or more.
type groupStatus struct {
	Name      string           `json:"name"`
	Dynamic   bool             `json:"dynamic,omitempty"` // it has upstreams that are not listed here
	Requests  uint64           `json:"requests"`
	Errors    uint64           `json:"errors"`
	Failing   uint64           `json:"failing,omitempty"` // how many errors there have been since the latest answer that was none
	InFlight  int64            `json:"in_flight"`
	Upstreams []upstreamStatus `json:"upstreams"`
}

// upstreamStatus is one upstream of a group. Requests are attempts, and errors those that
// failed.
type upstreamStatus struct {
	Address   string   `json:"address"`
	Dial      string   `json:"dial"`
	Scheme    string   `json:"scheme"`
	TLSVerify *bool    `json:"tls_verify,omitempty"` // only for https
	Weight    int      `json:"weight"`               // in force
	Health    string   `json:"health"`               // up, down, on trial (tried by one request at a time) or full
	Drained   bool     `json:"drained,omitempty"`    // it gets no new requests
	Backup    bool     `json:"backup,omitempty"`     // it gets requests only while no other is available
	WarmUp    *float64 `json:"warm_up,omitempty"`    // which share of its turns it gets, from 0.1 to 1, while it warms up
	InFlight  int      `json:"in_flight"`
	Requests  uint64   `json:"requests"`
	Errors    uint64   `json:"errors"`

	// Why it is not up; nil if it is, and while it is only full.
	Why *whyDown `json:"why,omitempty"`

	// What is set for it at run time, if anything is.
	Override *setUpstream `json:"override,omitempty"`

	// What an upstream whose certificate is not checked showed in the latest handshake.
	Certificate *certs.Description `json:"certificate,omitempty"`
}

// setUpstream is the override in force of an upstream.
type setUpstream struct {
	State            string    `json:"state,omitempty"`  // drain, if it is
	Weight           *int      `json:"weight,omitempty"` // if it is set
	ConfiguredWeight int       `json:"configured_weight"`
	SetAt            time.Time `json:"set_at"`
	SetBy            string    `json:"set_by,omitempty"`
}

// status tells the state of the route as it is now.
func (r *route) status() routeStatus {
	s := routeStatus{
		Name:            r.name,
		Label:           r.title,
		TrafficSplit:    r.split.current().percent,
		ConfiguredSplit: r.split.configured.percent,
		Fallbacks:       r.state.fallbacks.Load(),
		Retries:         r.state.retries.Load(),
		Unretried:       r.state.unretried.Load(),
		Ways:            waysStatus{Short: r.state.short.Load(), ReverseProxy: r.state.full.Load()},
	}
	s.Release = r.releaseStatus()
	if r.staging != nil {
		s.StagingFallback = &r.fallback
	}
	if o := r.split.override.Load(); o != nil {
		s.Override = &setSplit{TrafficSplit: o.TrafficSplit, Against: o.Against, SetAt: o.SetAt, SetBy: o.SetBy}
		if r.state.override.judge(r.split, o, time.Now()).unclear {
			first, _ := o.firstRolled()
			until := first.Add(rolloutTime)
			s.Override.UnclearUntil = &until
		}
	}
	for _, g := range r.groups {
		group := groupStatus{Name: g.name, Dynamic: g.dynamic != nil, InFlight: g.state.inFlight.Load(), Upstreams: []upstreamStatus{}}
		group.Requests, group.Errors = g.state.totals()
		group.Failing = g.state.failing.Load()
		for _, t := range g.targets {
			group.Upstreams = append(group.Upstreams, r.upstreamStatus(g, t))
		}
		s.Groups = append(s.Groups, group)
	}
	return s
}

func (r *route) upstreamStatus(g *group, t *target) upstreamStatus {
	s := upstreamStatus{
		Address:  t.backend.address.String(),
		Dial:     t.backend.dial,
		Scheme:   t.backend.scheme,
		Weight:   t.weight(),
		Drained:  t.isDrained(),
		Backup:   t.backend.backup,
		Health:   g.stateOf(t),
		InFlight: int(t.counts.inFlight.Load()),
		Requests: t.counts.requests.Load(),
		Errors:   t.counts.errors.Load(),
	}
	if share := g.warmUps.shareOf(t.upstream, time.Now()); share < 1 {
		s.WarmUp = &share
	}
	if s.Health != healthUp && s.Health != healthFull {
		why := g.whyDown(t)
		s.Why = &why
	}
	if o := t.set.Load(); o != nil {
		s.Override = &setUpstream{Weight: o.Weight, ConfiguredWeight: t.backend.weight, SetAt: o.SetAt, SetBy: o.SetBy}
		if o.Drained {
			s.Override.State = stateDrain
		}
	}
	if t.backend.scheme == address.HTTPS {
		s.TLSVerify = &t.backend.verify
	}
	if r.transport != nil {
		if shown, ok := r.transport.certificateOf(t.backend.dial); ok {
			s.Certificate = &shown
		}
	}
	return s
}

// What is known of an upstream.
const (
	healthUp    = "up"
	healthDown  = "down"
	healthTrial = "on trial" // it was down, and is tried by one request at a time
	healthFull  = "full"
	// it is out since it fails much more often than the others of its group
	healthEjected = "ejected"
)

// stateOf tells what is known of an upstream of the group.
func (g *group) stateOf(t *target) string {
	switch {
	case !g.isHealthy(t.upstream) && g.breaker.isEjected(t.backend.dial):
		return healthEjected
	case !g.isHealthy(t.upstream):
		return healthDown
	case g.breaker.isHalfOpen(t.backend.dial):
		return healthTrial
	case t.upstream.Full():
		return healthFull
	}
	return healthUp
}
