package proxyos

import (
	"encoding/json"
	"testing"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestEachUpstreamHasTheTransportThatItsAddressAsksFor(t *testing.T) {
	const idle = `"keep_alive":{"max_idle_conns_per_host":256}`
	for _, c := range []struct {
		name, transport, upstream, want string
	}{
		{"HTTP has no TLS", `{}`, `"h:3000"`, `{` + idle + `}`},
		{"HTTP loses the transport's TLS", `{"tls": {"server_name": "n"}}`, `"http://h:8443"`, `{` + idle + `}`},
		{"HTTPS is verified", `{}`, `"https://h"`, `{` + idle + `,"tls":{}}`},
		{"a detected port is not", `{}`, `"h:8443"`, `{` + idle + `,"tls":{"insecure_skip_verify":true}}`},
		{"h2c has its versions", `{}`, `"h2c://h:9000"`, `{` + idle + `,"versions":["h2c","2"]}`},
		{"h2c has no TLS", `{"tls": {}}`, `"h2c://h:9000"`, `{` + idle + `,"versions":["h2c","2"]}`},
		{"versions h2c holds for cleartext", `{"versions": ["h2c"]}`, `"h:3000"`, `{` + idle + `,"versions":["h2c","2"]}`},
		{"versions h2c does not for HTTPS", `{"versions": ["h2c", "2"]}`, `"https://h"`, `{` + idle + `,"tls":{},"versions":["2"]}`},
		{"HTTP/3 holds for HTTPS", `{"versions": ["3"]}`, `"https://h"`, `{` + idle + `,"tls":{},"versions":["3"]}`},
		{"what the transport says about TLS holds", `{"tls": {"server_name": "n", "handshake_timeout": 5}}`, `"h:3000"`, `{` + idle + `,"tls":{"handshake_timeout":5,"server_name":"n"}}`},
		{"an unchecked transport", `{"tls": {"insecure_skip_verify": true}}`, `"https://h"`, `{` + idle + `,"tls":{"insecure_skip_verify":true}}`},
		{"an unchecked transport and a checked upstream", `{"tls": {"insecure_skip_verify": true}}`, `{"address": "https://h", "skip_tls_verify": false}`, `{` + idle + `,"tls":{}}`},
		{"an exception is settled before", `{"tls": {"except_ports": ["1"]}}`, `"h:2"`, `{` + idle + `,"tls":{}}`},
		{"an exception has no TLS", `{"tls": {"except_ports": ["1"]}}`, `"h:1"`, `{` + idle + `}`},
		{"an upstream's settings stand over the transport's", `{"tls": {"server_name": "n", "handshake_timeout": 5}}`, `{"address": "https://h", "tls": {"server_name": "m"}}`, `{` + idle + `,"tls":{"handshake_timeout":5,"server_name":"m"}}`},
		{"an upstream's settings are checked", `{}`, `{"address": "h:8443", "tls": {"server_name": "m"}}`, `{` + idle + `,"tls":{"server_name":"m"}}`},
		{"an upstream's CA pool replaces the transport's", `{"tls": {"ca": {"provider": "system", "x": 1}}}`, `{"address": "https://h", "tls": {"ca": {"provider": "inline"}}}`, `{` + idle + `,"tls":{"ca":{"provider":"inline"}}}`},
		{"an upstream's CA pool replaces the deprecated fields", `{"tls": {"root_ca_pool": ["x"], "root_ca_pem_files": ["y"]}}`, `{"address": "https://h", "tls": {"ca": {"provider": "inline"}}}`, `{` + idle + `,"tls":{"ca":{"provider":"inline"}}}`},
		{"other options are kept", `{"dial_timeout": 7, "read_buffer_size": 9, "compression": false}`, `"h"`, `{"compression":false,"dial_timeout":7,` + idle + `,"read_buffer_size":9}`},
		{"keepalives are kept", `{"keep_alive": {"enabled": false, "max_idle_conns_per_host": 3}}`, `"h"`, `{"keep_alive":{"enabled":false,"max_idle_conns_per_host":3}}`},
		{"keepalives are completed", `{"keep_alive": {"probe_interval": 3}}`, `"h"`, `{"keep_alive":{"max_idle_conns_per_host":256,"probe_interval":3}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := new(reverseproxy.HTTPTransport)
			if err := caddy.StrictUnmarshalJSON([]byte(c.transport), base); err != nil {
				t.Fatal(err)
			}
			var u Upstream
			if err := json.Unmarshal([]byte(c.upstream), &u); err != nil {
				t.Fatal(err)
			}
			route := routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts), tls: base.TLS}
			for _, version := range base.Versions {
				route.cleartextH2 = route.cleartextH2 || version == "h2c"
			}
			backends, err := resolve([]Upstream{u}, nil, route)
			if err != nil {
				t.Fatal(err)
			}
			before := string(encode(base))
			config, err := laneConfig(base, backends[0])
			if err != nil {
				t.Fatal(err)
			}
			if got, want := proxytest.Canonical(t, string(encode(config))), proxytest.Canonical(t, c.want); got != want {
				t.Errorf("\ngot  %s\nwant %s", got, want)
			}
			if after := string(encode(base)); after != before {
				t.Errorf("the route's transport was %s and became %s", before, after)
			}
		})
	}
}

func TestUpstreamsSpokenToAlikeShareATransport(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	watches := &certWatchers{route: &route{logger: zap.NewNop()}, byDial: make(map[string]*certs.Watch)}
	defer func() {
		if err := watches.release(); err != nil {
			t.Error(err)
		}
	}()
	loader := laneLoader{ctx: ctx, loaded: make(map[string]*lane), shared: make(map[string]*lane), certs: watches}
	different := make(map[*lane]bool)
	p := &plan{base: new(reverseproxy.HTTPTransport)}
	for _, b := range resolveAll(t,
		Upstream{Address: "a:1"}, Upstream{Address: "http://b:8443"}, Upstream{Address: "unix//run/s"},
		Upstream{Address: "https://a"}, Upstream{Address: "https://b:3000"},
		Upstream{Address: "a:8443"}, Upstream{Address: "b:8006"},
		Upstream{Address: "h2c://a:9"}, Upstream{Address: "unix+h2c//run/h"}) {
		planned, err := p.planLane(b)
		if err != nil {
			t.Fatal(err)
		}
		lane, err := loader.load(planned)
		if err != nil {
			t.Fatal(err)
		}
		different[lane] = true
		if (lane.urlScheme == address.HTTPS) != (b.scheme == address.HTTPS) {
			t.Errorf("%s: the URL's scheme is %s", b.address, lane.urlScheme)
		}
	}
	if len(different) != 5 {
		t.Errorf("%d transports, want one for plain, verified and h2c upstreams each, and one for each of the two whose certificates are watched", len(different))
	}
}
