package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(transport))
}

// defaultIdleConnsPerHost is how many idle connections are kept to each upstream, unless
// the route's transport says otherwise.
const defaultIdleConnsPerHost = 256

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
}

// leg is one way of speaking to upstreams.
type leg struct {
	urlScheme string
	requests  http.RoundTripper
	upgrades  http.RoundTripper // for requests that ask for another protocol, such as WebSockets
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
	b.address, _ = parseAddress(t.dial)
	return b
}

// portLegs is the ways of speaking to upstreams of which nothing but the port is known.
type portLegs struct {
	byPort map[string]*leg
	other  *leg
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
	t.byDial = make(map[string]target)
	t.certs = &certWatchers{route: route.Name, logger: route.logger}
	t.failures = newDiagnostician(route.Name, route.logger)
	legs := legLoader{ctx: ctx, base: route.base, loaded: make(map[string]*leg), certs: t.certs}
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
	at, err := t.targetOf(req)
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
		res, err = way.RoundTrip(req)
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
func (t *transport) targetOf(req *http.Request) (target, error) {
	info, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok || info.Upstream == nil {
		return target{}, fmt.Errorf("no upstream is chosen for the request to %s", req.URL.Host)
	}
	j := journeyOf(req)
	if j == nil { // an active health check
		if at, ok := t.byDial[req.Header.Get(healthTargetHeader)]; ok {
			return at, nil
		}
	}
	if at, ok := t.byDial[info.Upstream.Dial]; ok {
		return at, nil
	}
	if j != nil {
		if legs, ok := t.dynamic[j.group.name]; ok {
			return target{leg: legs.of(info.Upstream.Dial), dial: info.Upstream.Dial}, nil
		}
	}
	return target{}, fmt.Errorf("upstream %q is not one of the route's", info.Upstream.Dial)
}

// of returns the leg for a dial address.
func (l portLegs) of(dial string) *leg {
	if leg, ok := l.byPort[dial[strings.LastIndexByte(dial, ':')+1:]]; ok {
		return leg
	}
	return l.other
}

// ProxyProtocolEnabled tells the reverse proxy to keep the connections of different
// clients apart.
func (t *transport) ProxyProtocolEnabled() bool { return t.proxyProtocol }

// legLoader loads http transports, one for each different configuration.
type legLoader struct {
	ctx    caddy.Context
	base   *reverseproxy.HTTPTransport
	loaded map[string]*leg
	certs  *certWatchers
}

// load returns the leg for a backend.
func (l legLoader) load(b backend) (*leg, error) {
	config, err := transportConfig(l.base, b)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	key := b.scheme + string(encoded) + legKey(b, config)
	if leg, ok := l.loaded[key]; ok {
		return leg, nil
	}
	requests, err := l.loadTransport(encoded)
	if err != nil {
		return nil, err
	}
	l.guardCertificates(b, config, requests)
	one := &leg{urlScheme: schemeHTTP, requests: requests, upgrades: requests}
	switch b.scheme {
	case schemeHTTPS:
		one.urlScheme = schemeHTTPS
	case schemeH2C:
		// an upgrade is an HTTP/1.1 matter, and servers that speak h2c speak that too
		config.Versions = []string{"1.1"}
		if encoded, err = json.Marshal(config); err != nil {
			return nil, err
		}
		if one.upgrades, err = l.loadTransport(encoded); err != nil {
			return nil, err
		}
	}
	l.loaded[key] = one
	return one, nil
}

// loadByPort returns the legs for upstreams that a dynamic source names.
func (l legLoader) loadByPort(g *group, route routeOptions) (portLegs, error) {
	load := func(port string) (*leg, error) {
		a := address{port: port}
		return l.load(backend{meaning: infer(a, Upstream{}, g.skipTLSVerify, route), address: a})
	}
	legs := portLegs{byPort: make(map[string]*leg)}
	var err error
	if legs.other, err = load(""); err != nil {
		return portLegs{}, err
	}
	for port := range route.httpsPorts {
		if legs.byPort[port], err = load(port); err != nil {
			return portLegs{}, err
		}
	}
	if route.tls != nil {
		for _, port := range route.tls.ExceptPorts {
			if legs.byPort[port], err = load(port); err != nil {
				return portLegs{}, err
			}
		}
	}
	return legs, nil
}

func (l legLoader) loadTransport(config json.RawMessage) (http.RoundTripper, error) {
	module, err := l.ctx.LoadModuleByID("http.reverse_proxy.transport.http", config)
	if err != nil {
		return nil, err
	}
	return module.(http.RoundTripper), nil
}

// transportConfig returns the http transport for a backend: the route's own, with the
// backend's scheme and certificate check.
func transportConfig(base *reverseproxy.HTTPTransport, b backend) (*reverseproxy.HTTPTransport, error) {
	config := new(reverseproxy.HTTPTransport)
	if err := recode(base, config); err != nil {
		return nil, err
	}
	if config.KeepAlive == nil {
		config.KeepAlive = new(reverseproxy.KeepAlive)
	}
	if config.KeepAlive.MaxIdleConnsPerHost == 0 {
		config.KeepAlive.MaxIdleConnsPerHost = defaultIdleConnsPerHost
	}
	if b.scheme != schemeHTTPS {
		config.TLS = nil
		if slices.Contains(config.Versions, "3") {
			return nil, fmt.Errorf("the transport says `versions 3`, and HTTP/3 needs TLS; write https://%s", withoutScheme(b.address))
		}
		if b.scheme == schemeH2C {
			return config, config.EnableH2C()
		}
		return config, nil
	}

	if config.TLS == nil {
		config.TLS = new(reverseproxy.TLSConfig)
	}
	if b.tls != nil {
		if b.tls.CARaw != nil {
			//lint:ignore SA1019 the route may still use the deprecated fields, which exclude this one
			config.TLS.RootCAPool, config.TLS.RootCAPEMFiles = nil, nil
		}
		if err := recode(b.tls, config.TLS); err != nil {
			return nil, err
		}
	}
	if len(b.pins) > 0 && slices.Contains(config.Versions, "3") {
		return nil, errors.New("tls_pin does not work with the transport's `versions 3`; remove one of them")
	}
	config.TLS.InsecureSkipVerify = !b.verify || len(b.pins) > 0 // a pin stands for the whole check
	config.TLS.ExceptPorts = nil
	config.Versions = slices.DeleteFunc(config.Versions, func(v string) bool { return v == "h2c" })
	return config, nil
}

// recode copies the fields that are set in one configuration over those of another.
func recode(from, to any) error {
	encoded, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(encoded, to)
}

// Interface guards
var (
	_ caddy.Provisioner                   = (*transport)(nil)
	_ caddyfile.Unmarshaler               = (*transport)(nil)
	_ http.RoundTripper                   = (*transport)(nil)
	_ reverseproxy.ProxyProtocolTransport = (*transport)(nil)
)
