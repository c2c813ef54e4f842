package proxyos

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

func init() {
	caddy.RegisterModule(new(transport))
}

// healthTargetHeader carries the upstream that an active health check is for from the
// health checker to the transport, since health_port and health_upstream hide it. It
// never leaves the transport.
const healthTargetHeader = "Proxyos-Health-Target"

// transport is the route's guest in its reverse proxy that makes the round trips. To each
// upstream it speaks in that upstream's own way, through one of Caddy's http transports.
// It has no configuration and cannot be used by itself.
type transport struct {
	proxyProtocol bool
	distrust      *distrust
	byDial        map[string]target
	dynamic       map[string]portLegs // by group: for upstreams from dynamic sources
	certs         *certWatchers
	failures      *diagnostician
	warnUnchecked func(upstreams ...string)
	warnDynamic   sync.Once // of the first upstream that is unchecked, since none is known at load
}

// target is an upstream and the way of speaking to it.
type target struct {
	*leg
	dial    string
	backend *backend // nil for an upstream from a dynamic source
	gate    *gate    // nil if the dial address may stand for several upstreams
}

// known returns what is known of the upstream.
func (t target) known() backend {
	if t.backend != nil {
		return *t.backend
	}
	b := backend{dial: t.dial, meaning: meaning{scheme: t.urlScheme}}
	b.address, _ = address.Parse(t.dial)
	return b
}

// CaddyModule returns the Caddy module information.
func (*transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.proxyos",
		New: func() caddy.Module { return new(transport) },
	}
}

// Provision loads one http transport for each way in which the route's upstreams are
// spoken to.
func (t *transport) Provision(ctx caddy.Context) error {
	route, err := hostOf(ctx, "transport proxyos")
	if err != nil {
		return err
	}
	t.proxyProtocol = route.base.ProxyProtocol != ""
	t.distrust = &route.distrust
	t.warnUnchecked = route.warnUnchecked
	t.byDial = make(map[string]target)
	t.certs = &certWatchers{route: route.Name, logger: route.logger}
	t.failures = newDiagnostician(route.Name, route.logger)
	legs := legLoader{ctx: ctx, base: route.base, loaded: make(map[string]*leg), certs: t.certs}
	if !route.hasTransport {
		legs.shared = route.app.legs
	}
	for _, g := range route.groups {
		for i := range g.backends {
			b := &g.backends[i]
			leg, err := legs.load(*b)
			if err != nil {
				return fmt.Errorf("upstream %q: %w", b.address, err)
			}
			at := target{leg: leg, dial: b.dial, backend: b}
			if strings.Contains(b.dial, "{") {
				// an active health check names its target with the known placeholders replaced
				t.byDial[caddy.NewReplacer().ReplaceKnown(b.dial, "")] = at
			} else {
				at.gate = new(gate)
			}
			t.byDial[b.dial] = at
		}
		if g.dynamic == nil {
			continue
		}
		if t.dynamic == nil {
			t.dynamic = make(map[string]portLegs)
		}
		if t.dynamic[g.name], err = legs.loadByPort(g, route.options); err != nil {
			return fmt.Errorf("dynamic upstreams of %s: %w", g.name, err)
		}
	}
	return nil
}

// UnmarshalCaddyfile refuses the transport, which nobody but the handler can name.
func (*transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return refuseGuest(d, "transport proxyos")
}

// RoundTrip sends a request to the upstream that the reverse proxy has chosen for it.
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
	if err == nil && t.distrust.any() {
		t.distrust.answered(at.dial, res.StatusCode)
	}
	if err != nil || res.StatusCode == http.StatusBadRequest {
		return t.failures.examine(at, res, err)
	}
	return res, nil
}

// targetOf finds the upstream that req is for.
func (t *transport) targetOf(req *http.Request, j *journey) (target, error) {
	info, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok || info.Upstream == nil {
		return target{}, fmt.Errorf("no upstream is chosen for the request to %s", req.URL.Host)
	}
	if j == nil {
		if at, ok := t.byDial[req.Header.Get(healthTargetHeader)]; ok {
			return at, nil
		}
	}
	if at, ok := t.byDial[info.Upstream.Dial]; ok {
		return at, nil
	}
	if j != nil {
		if legs, ok := t.dynamic[j.group.name]; ok {
			if legs.unchecked.has(portOf(info.Upstream.Dial)) {
				t.warnDynamic.Do(func() { t.warnUnchecked(info.Upstream.Dial) })
			}
			return target{leg: legs.of(info.Upstream.Dial), dial: info.Upstream.Dial}, nil
		}
	}
	return target{}, fmt.Errorf("upstream %q is not one of the route's", info.Upstream.Dial)
}

// ProxyProtocolEnabled tells the reverse proxy to keep the connections of different
// clients apart.
func (t *transport) ProxyProtocolEnabled() bool { return t.proxyProtocol }

// Interface guards
var (
	_ caddy.Provisioner                   = (*transport)(nil)
	_ caddyfile.Unmarshaler               = (*transport)(nil)
	_ http.RoundTripper                   = (*transport)(nil)
	_ reverseproxy.ProxyProtocolTransport = (*transport)(nil)
)
