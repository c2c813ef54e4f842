package proxyos

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

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
	l.guardCertificates(b, config)
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
