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

// lane is one way of speaking to upstreams.
type lane struct {
	urlScheme string
	requests  http.RoundTripper
	upgrades  http.RoundTripper // for requests that ask for another protocol, such as WebSockets
	names     *serverNames      // nil if the server name is the same for all requests
	untraced  bool              // the transport does not tell of its connections
	loaded    []*reverseproxy.HTTPTransport
}

// close closes the lane's idle connections.
func (l *lane) close() error {
	var all []error
	for _, transport := range l.loaded {
		all = append(all, transport.Cleanup())
	}
	return errors.Join(all...)
}

// closeIdle closes the lane's idle connections, which are made again as they are needed.
func (l *lane) closeIdle() {
	for _, transport := range l.loaded {
		transport.Transport.CloseIdleConnections()
	}
}

// lanePlan is a lane before it is loaded.
type lanePlan struct {
	backend backend // the first one that it is for
	config  *reverseproxy.HTTPTransport
	key     string // backends whose lanes have the same key share one
	shared  bool   // also with those of other routes
}

// planLane plans the lane to a backend. Backends of different routes share one, and so its
// connections, where neither they nor their routes say anything of the transport: with
// many routes that saves most of the memory and the time to load them.
func (p *plan) planLane(b backend) (lanePlan, error) {
	config, err := laneConfig(p.base, b)
	if err != nil {
		return lanePlan{}, err
	}
	lane := lanePlan{backend: b, config: config}
	if p.base == nil && b.tls == nil && len(b.pins) == 0 && (b.scheme != address.HTTPS || b.verify) {
		lane.shared, lane.key = true, b.scheme+" "+b.address.Network
		return lane, nil
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return lanePlan{}, err
	}
	lane.key = b.scheme + string(encoded)
	for _, pin := range b.pins {
		lane.key += pin.String()
	}
	if dial, host, watched := watchTarget(b, config); watched {
		lane.key += dial + " " + host
	}
	return lane, nil
}

// portLanePlans are the lanes to upstreams of which nothing but the port is known.
type portLanePlans struct {
	byPort map[string]lanePlan
	other  lanePlan
}

// planPortLanes plans the lanes to upstreams that the dynamic source of a group names.
func (p *plan) planPortLanes(groupSkip *bool) (lanes portLanePlans, err error) {
	planned := func(port string) (lanePlan, error) {
		b := backend{address: address.Address{Port: port}}
		b.meaning = infer(b.address, Upstream{}, groupSkip, p.addresses)
		return p.planLane(b)
	}
	if lanes.other, err = planned(""); err != nil {
		return lanes, err
	}
	lanes.byPort = make(map[string]lanePlan)
	for port := range p.addresses.httpsPorts {
		if lanes.byPort[port], err = planned(port); err != nil {
			return lanes, err
		}
	}
	if p.addresses.tls != nil {
		for _, port := range p.addresses.tls.ExceptPorts {
			if lanes.byPort[port], err = planned(port); err != nil {
				return lanes, err
			}
		}
	}
	return lanes, nil
}

// portLanes are the lanes of a dynamic source, loaded.
type portLanes struct {
	byPort    map[string]*lane
	other     *lane
	unchecked portSet // where certificates are not checked only because of the port
}

// of returns the lane for a dial address.
func (l *portLanes) of(dial string) *lane {
	if lane, ok := l.byPort[portOf(dial)]; ok {
		return lane
	}
	return l.other
}

func portOf(dial string) string { return dial[strings.LastIndexByte(dial, ':')+1:] }

// laneLoader loads the lanes of one route, each different one once.
type laneLoader struct {
	ctx    caddy.Context
	loaded map[string]*lane
	shared map[string]*lane // those of all routes, which outlive this one
	certs  *certWatchers
}

// load returns the lane that is planned.
func (l *laneLoader) load(p lanePlan) (*lane, error) {
	lanes := l.loaded
	if p.shared {
		lanes = l.shared
	}
	if known, ok := lanes[p.key]; ok {
		return known, nil
	}
	one := &lane{urlScheme: address.HTTP}
	upgrades := upgradeConfig(p.backend, p.config)
	requests, err := l.provision(one, p.backend, p.config)
	if err != nil {
		return nil, err
	}
	one.requests, one.upgrades = requests, requests
	if p.backend.scheme == address.HTTPS {
		one.urlScheme = address.HTTPS
	}
	one.names = newServerNames(p.config)
	one.untraced = slices.Contains(p.config.Versions, "3")
	if upgrades != nil {
		if one.upgrades, err = l.provision(one, p.backend, upgrades); err != nil {
			return nil, err
		}
	}
	lanes[p.key] = one
	return one, nil
}

// upgradeConfig returns the transport for requests that ask for another protocol, if it is
// another one than config: that is an HTTP/1.1 matter, and servers of HTTP/2 speak that, too.
func upgradeConfig(b backend, config *reverseproxy.HTTPTransport) *reverseproxy.HTTPTransport {
	if slices.Equal(config.Versions, []string{"1.1"}) || b.scheme == address.HTTP {
		return nil
	}
	upgrades := *config
	upgrades.Versions = []string{"1.1"}
	if config.TLS != nil { // provisioning takes things out of it, which this one needs, too
		ownTLS := *config.TLS
		upgrades.TLS = &ownTLS
	}
	return &upgrades
}

// provision provisions an http transport for a lane to a backend. The lane closes it.
func (l *laneLoader) provision(one *lane, b backend, config *reverseproxy.HTTPTransport) (*reverseproxy.HTTPTransport, error) {
	if err := config.Provision(l.ctx); err != nil {
		return nil, errors.Join(err, one.close())
	}
	one.loaded = append(one.loaded, config)
	l.guardCertificates(b, config, config)
	config.Transport.DialContext = hearingOut(config.Transport.DialContext)
	return config, nil
}

// loadByPort returns the lanes for the upstreams of a dynamic source.
func (l *laneLoader) loadByPort(plans portLanePlans) (*portLanes, error) {
	lanes := &portLanes{byPort: make(map[string]*lane), unchecked: make(portSet)}
	var err error
	if lanes.other, err = l.load(plans.other); err != nil {
		return nil, err
	}
	for port, planned := range plans.byPort {
		if lanes.byPort[port], err = l.load(planned); err != nil {
			return nil, err
		}
		if planned.backend.uncheckedByDetection() {
			lanes.unchecked[port] = struct{}{}
		}
	}
	return lanes, nil
}

// laneConfig returns the http transport for a backend: the route's own, if one is written,
// with the backend's scheme and certificate check.
func laneConfig(base *reverseproxy.HTTPTransport, b backend) (*reverseproxy.HTTPTransport, error) {
	config := new(reverseproxy.HTTPTransport)
	if base != nil {
		if err := recode(base, config); err != nil {
			return nil, err
		}
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
	if b.verify && strings.Contains(config.TLS.ServerName, "{") && slices.Contains(config.Versions, "3") {
		return nil, fmt.Errorf("tls_server_name %s: with `versions 3`, a connection that was checked for one name may serve a request for another; write a name without a placeholder, or remove `versions 3`", config.TLS.ServerName)
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
