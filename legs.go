package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// defaultIdleConnsPerHost is how many idle connections are kept to each upstream, unless
// the route's transport says otherwise.
const defaultIdleConnsPerHost = 256

// leg is one way of speaking to upstreams.
type leg struct {
	urlScheme string
	requests  http.RoundTripper
	upgrades  http.RoundTripper // for requests that ask for another protocol, such as WebSockets
}

// portLegs is the ways of speaking to upstreams of which nothing but the port is known.
type portLegs struct {
	byPort    map[string]*leg
	other     *leg
	unchecked portSet // where certificates are unchecked because of the port alone
}

// of returns the leg for a dial address.
func (l portLegs) of(dial string) *leg {
	if leg, ok := l.byPort[portOf(dial)]; ok {
		return leg
	}
	return l.other
}

func portOf(dial string) string { return dial[strings.LastIndexByte(dial, ':')+1:] }

// legLoader loads http transports, one for each different configuration.
type legLoader struct {
	ctx    caddy.Context
	base   *reverseproxy.HTTPTransport
	loaded map[string]*leg
	shared map[string]*leg // those of the routes that say nothing of their transport; nil for others
	certs  *certWatchers
}

// load returns the leg for a backend. Backends of different routes share one, and so its
// connections, where neither they nor their routes say anything of the transport: with
// many routes that saves most of the memory and the time to load them.
func (l legLoader) load(b backend) (*leg, error) {
	if l.shared == nil || b.tls != nil || len(b.pins) > 0 || b.scheme == address.HTTPS && !b.verify {
		return l.loadOwn(b)
	}
	key := b.scheme + " " + b.address.Network
	if leg, ok := l.shared[key]; ok {
		return leg, nil
	}
	leg, err := l.loadOwn(b)
	if err == nil {
		l.shared[key] = leg
	}
	return leg, err
}

// loadOwn returns a leg for the backends of this route alone.
func (l legLoader) loadOwn(b backend) (*leg, error) {
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
	one := &leg{urlScheme: address.HTTP, requests: requests, upgrades: requests}
	switch b.scheme {
	case address.HTTPS:
		one.urlScheme = address.HTTPS
	case address.H2C:
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
	legs := portLegs{byPort: make(map[string]*leg), unchecked: make(portSet)}
	load := func(port string) (*leg, error) {
		b := backend{address: address.Address{Port: port}}
		b.meaning = infer(b.address, Upstream{}, g.skipTLSVerify, route)
		if b.uncheckedByDetection() {
			legs.unchecked[port] = struct{}{}
		}
		return l.load(b)
	}
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
	if b.scheme != address.HTTPS {
		config.TLS = nil
		if slices.Contains(config.Versions, "3") {
			return nil, fmt.Errorf("the transport says `versions 3`, and HTTP/3 needs TLS; write https://%s", b.address.WithoutScheme())
		}
		if b.scheme == address.H2C {
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
