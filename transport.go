package proxyos

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// healthTargetHeader carries the upstream that an active health check is for from the
// health checker to the transport, since health_port and health_upstream hide it. It
// never leaves the transport.
const healthTargetHeader = "Proxyos-Health-Target"

// transport is the route's guest in its reverse proxy that makes the round trips. To each
// upstream it speaks in that upstream's own way, over a lane.
type transport struct {
	proxyProtocol bool
	breaker       *breaker
	lanes         map[string]*lane // the route's own, by what they have in common
	certs         *certWatchers
	failures      *diagnostician
	checks        checkTargets
	warnDynamic   sync.Once // of the first upstream that is unchecked, since none is known at load
	warnUnchecked func(upstreams ...string)
}

// checkTargets are the targets of active health checks, which are no part of a journey.
type checkTargets struct {
	byUpstream map[*reverseproxy.Upstream]*target
	byDial     map[string]*target // placeholders replaced, for checks of another port or host
}

// newTransport returns the transport of a route, which must be closed.
func newTransport(r *route, p *plan) *transport {
	return &transport{
		proxyProtocol: p.base != nil && p.base.ProxyProtocol != "",
		breaker:       r.breaker,
		lanes:         make(map[string]*lane),
		certs:         &certWatchers{route: r.name, logger: r.logger},
		failures:      newDiagnostician(r.name, r.logger),
		warnUnchecked: r.warnUnchecked,
		checks:        checkTargets{byUpstream: make(map[*reverseproxy.Upstream]*target), byDial: make(map[string]*target)},
	}
}

// load loads the lanes to the upstreams of the groups.
func (t *transport) load(ctx caddy.Context, groups []*group, plans []*groupPlan, shared map[string]*lane) error {
	loader := laneLoader{ctx: ctx, loaded: t.lanes, shared: shared, certs: t.certs}
	for i, g := range groups {
		for n, at := range g.targets {
			var err error
			if at.lane, err = loader.load(plans[i].lanes[n]); err != nil {
				return fmt.Errorf("upstream %q: %w", at.backend.address, err)
			}
			if !strings.Contains(at.backend.dial, "{") {
				at.gate = new(gate)
			}
			t.checks.byUpstream[at.upstream] = at
			t.checks.byDial[caddy.NewReplacer().ReplaceKnown(at.backend.dial, "")] = at
		}
		if g.dynamic == nil {
			continue
		}
		var err error
		if g.byPort, err = loader.loadByPort(plans[i].byPort); err != nil {
			return fmt.Errorf("dynamic upstreams of %s: %w", g.name, err)
		}
	}
	return nil
}

// close closes idle connections, and lets go of what is remembered of certificates.
func (t *transport) close() error {
	var all []error
	for _, lane := range t.lanes {
		all = append(all, lane.close())
	}
	return errors.Join(append(all, t.certs.release())...)
}

// RoundTrip sends req to the upstream that was chosen for it.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	j := journeyOf(req) // nil for an active health check
	at, err := t.targetOf(req, j)
	if err != nil {
		return nil, err
	}
	req.URL.Scheme = at.urlScheme
	if _, ok := req.Header[healthTargetHeader]; ok {
		req = req.Clone(req.Context())
		req.Header.Del(healthTargetHeader)
	}
	way := at.requests
	if len(req.Header["Upgrade"]) > 0 {
		way = at.upgrades
	}
	var res *http.Response
	if at.gate != nil {
		res, err = at.gate.roundTrip(way, req)
	} else {
		res, err = attempt(way, req)
	}
	if j != nil {
		j.answered = err == nil
	}
	if err == nil && !t.breaker.isClosed() {
		t.breaker.succeeded(at.backend.dial, res.StatusCode)
	}
	if err != nil || res.StatusCode == http.StatusBadRequest {
		return t.failures.examine(at.backend, res, err)
	}
	return res, nil
}

// targetOf returns the upstream that was chosen for a request, or that a health check is
// for. It never guesses: what is not known is not spoken to.
func (t *transport) targetOf(req *http.Request, j *journey) (*target, error) {
	info, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok || info.Upstream == nil {
		return nil, fmt.Errorf("no upstream is chosen for the request to %s", req.URL.Host)
	}
	if j == nil {
		return t.checks.targetOf(info.Upstream, req.Header.Get(healthTargetHeader))
	}
	at := j.target
	if at == nil || at.upstream != info.Upstream {
		return nil, fmt.Errorf("upstream %q is not the one that was chosen for the request", info.Upstream.Dial)
	}
	if g := j.group; g.byPort != nil && at.counts == nil && g.byPort.unchecked.has(portOf(info.Upstream.Dial)) {
		t.warnDynamic.Do(func() { t.warnUnchecked(info.Upstream.Dial) })
	}
	return at, nil
}

// targetOf returns the upstream that a health check is for. hint is its dial address, if
// the check goes to another port or host.
func (c *checkTargets) targetOf(upstream *reverseproxy.Upstream, hint string) (*target, error) {
	if at, ok := c.byUpstream[upstream]; ok {
		return at, nil
	}
	if at, ok := c.byDial[hint]; ok && hint != "" {
		return at, nil
	}
	return nil, fmt.Errorf("health check of %q: it is not an upstream of the route", upstream.Dial)
}

// certificateOf returns the certificate that an upstream whose certificate is not checked
// showed in the latest handshake.
func (t *transport) certificateOf(dial string) (certs.Description, bool) {
	watch, ok := t.certs.byDial[dial]
	if !ok {
		return certs.Description{}, false
	}
	return watch.Latest()
}

// ProxyProtocolEnabled tells the reverse proxy to keep the connections of different
// clients apart.
func (t *transport) ProxyProtocolEnabled() bool { return t.proxyProtocol }

// Interface guards
var (
	_ http.RoundTripper                   = (*transport)(nil)
	_ reverseproxy.ProxyProtocolTransport = (*transport)(nil)
)
