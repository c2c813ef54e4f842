package proxyos

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/h1"
)

// lane is one way of speaking to upstreams.
type lane struct {
	urlScheme  string
	requests   http.RoundTripper
	upgrades   http.RoundTripper // for requests that ask for another protocol, such as WebSockets
	names      *serverNames      // nil if the server name is the same for all requests
	untraced   bool              // the transport does not tell of its connections
	mayBeHTTP2 bool              // whose transport waits for who sends a request's body; see silentTrip
	loaded     []*reverseproxy.HTTPTransport
	direct     []*h1.Transport // that do the work of those loaded, for HTTP/1.1
}

// close closes the lane's idle connections.
func (l *lane) close() error {
	var all []error
	for _, transport := range l.loaded {
		all = append(all, transport.Cleanup())
	}
	for _, transport := range l.direct {
		transport.CloseIdleConnections()
	}
	return errors.Join(all...)
}

// closeIdle closes the lane's idle connections, which are made again as they are needed.
func (l *lane) closeIdle() {
	for _, transport := range l.loaded {
		transport.Transport.CloseIdleConnections()
	}
	for _, transport := range l.direct {
		transport.CloseIdleConnections()
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
	loaded map[string]*lane // nil before the first
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
	requests, err := l.provision(one, p, p.config)
	if err != nil {
		return nil, err
	}
	one.requests, one.upgrades = requests, requests
	if p.backend.scheme == address.HTTPS {
		one.urlScheme = address.HTTPS
	}
	one.names = newServerNames(p.config)
	one.untraced = slices.Contains(p.config.Versions, "3")
	one.mayBeHTTP2 = p.backend.scheme == address.H2C || p.backend.scheme == address.HTTPS && slices.Contains(p.config.Versions, "2")
	if upgrades != nil {
		if one.upgrades, err = l.provision(one, p, upgrades); err != nil {
			return nil, err
		}
	}
	if lanes == nil { // the route's first lane of its own
		lanes = make(map[string]*lane)
		l.loaded = lanes
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

// provision provisions an http transport for a lane, and returns the way to its upstreams. The
// lane closes it.
func (l *laneLoader) provision(one *lane, p lanePlan, config *reverseproxy.HTTPTransport) (http.RoundTripper, error) {
	direct := p.direct && offLane(p.backend, config) == ""
	if err := config.Provision(l.ctx); err != nil {
		return nil, errors.Join(err, one.close())
	}
	one.loaded = append(one.loaded, config)
	l.guardCertificates(p.backend, config)
	values := newOwnValues(config)
	var http1 *h1.Transport
	if direct {
		http1 = h1.New(config.Transport) // which hears the answer out without help
		http1.ContextForDial = values.in
		one.direct = append(one.direct, http1)
	}
	config.Transport.DialContext = hearingOut(config.Transport.DialContext, p.backend.scheme == address.HTTP)
	switch {
	case !direct:
		return withOwnValues{config, values}, nil
	case p.backend.scheme == address.HTTPS && slices.Contains(config.Versions, "2"):
		return &alpn{either: withOwnValues{config, values}, http1: http1}, nil
	}
	return http1, nil
}

// offLane says what keeps a backend off the fast lane; it is empty if internal/h1 can do the work of the http
// transport, or that of its HTTP/1.1: where it knows all that the transport may do. That need not be provisioned.
func offLane(b backend, config *reverseproxy.HTTPTransport) string {
	isOther := func(version string) bool { return version != "1.1" && version != "2" }
	isHTTPS := b.scheme == address.HTTPS
	switch {
	case !h1.Supported:
		return "it needs a Unix system"
	case b.scheme == address.H2C:
		return "HTTP/2 cleartext is spoken to it"
	case slices.ContainsFunc(config.Versions, isOther) || len(config.Versions) > 0 && !slices.Contains(config.Versions, "1.1"):
		return "`versions " + strings.Join(config.Versions, " ") + "` asks for another version of HTTP"
	case len(config.NetworkProxyRaw) > 0 || config.ForwardProxyURL != "": //nolint:staticcheck // it still has an effect
		return "a proxy is asked for it"
	case hasProxyVariable(b.scheme):
		return "the environment names a proxy (" + proxyVariables[b.scheme][0] + ")"
	case hidesConnections(config):
		return "`read_timeout` beside `proxy_protocol` or a placeholder in `tls_server_name`"
	case isHTTPS && limitsBoth(config):
		return "`max_conns_per_host` counts HTTP/2, which it may choose; with `versions 1.1` it may not"
	case isHTTPS && renegotiates(config):
		return "`tls_renegotiation`"
	}
	return ""
}

// limitsBoth tells whether a limit of connections would be one for HTTP/1.1 and one for what came
// before it was known that the upstream speaks that.
func limitsBoth(config *reverseproxy.HTTPTransport) bool {
	return config.MaxConnsPerHost > 0 && (len(config.Versions) == 0 || slices.Contains(config.Versions, "2"))
}

// renegotiates tells whether TLS may begin anew on a connection that is idle, which looking at it
// would not survive.
func renegotiates(config *reverseproxy.HTTPTransport) bool {
	return config.TLS != nil && config.TLS.Renegotiation != "" && config.TLS.Renegotiation != "never"
}

// hidesConnections tells whether the transport makes TLS connections of its own in which h1 cannot
// see what has come while they were idle.
func hidesConnections(config *reverseproxy.HTTPTransport) bool {
	return config.TLS != nil && config.ReadTimeout != 0 &&
		(config.ProxyProtocol != "" || strings.Contains(config.TLS.ServerName, "{"))
}

// proxyVariables name the proxy that upstreams of a scheme are asked through.
var proxyVariables = map[string][]string{
	address.HTTP:  {"HTTP_PROXY", "http_proxy"},
	address.HTTPS: {"HTTPS_PROXY", "https_proxy"},
}

// hasProxyVariable tells whether the environment names a proxy for some upstreams of a scheme.
func hasProxyVariable(scheme string) bool {
	return slices.ContainsFunc(proxyVariables[scheme], func(name string) bool { return os.Getenv(name) != "" })
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
