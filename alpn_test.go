package proxyos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/h1"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// forgetProxies empties the variables that name proxies until the test ends. net/http, which
// remembers them from when it first asks, keeps them for the tests of hints.
func forgetProxies(t *testing.T) {
	_, _ = http.ProxyFromEnvironment(&http.Request{URL: new(url.URL)})
	for _, names := range proxyVariables {
		for _, name := range names {
			t.Setenv(name, "")
		}
	}
}

// loadLane loads the lane to HTTPS upstreams whose certificates are not checked.
func loadLane(t *testing.T, config *reverseproxy.HTTPTransport) *lane {
	t.Helper()
	forgetProxies(t)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	config.TLS = &reverseproxy.TLSConfig{InsecureSkipVerify: true}
	loader := laneLoader{ctx: ctx, loaded: make(map[string]*lane), certs: new(certWatchers)}
	loaded, err := loader.load(lanePlan{backend: backend{meaning: meaning{scheme: address.HTTPS, verify: true}}, config: config, direct: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = loaded.close() })
	return loaded
}

// protocolOver returns the protocol of an answer over a lane.
func protocolOver(t *testing.T, over http.RoundTripper, addr string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+addr, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := over.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); string(body) != proxytest.Greeting || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
	return res.Proto
}

func TestTheFirstAnswerTellsWhichProtocolAnUpstreamSpeaks(t *testing.T) {
	serve := func(addr string, protocols ...string) *http.Server {
		server := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{proxytest.SelfSigned(t, "127.0.0.1")}, NextProtos: protocols}}
		server.TLSNextProto = nil
		if protocols[0] != "h2" {
			server.TLSNextProto = make(map[string]func(*http.Server, *tls.Conn, http.Handler))
		}
		proxytest.StartServer(t, proxytest.Listen(t, addr), server)
		return server
	}
	old, modern := proxytest.FreeAddr(t), proxytest.FreeAddr(t)
	oldServer := serve(old, "http/1.1")
	serve(modern, "h2", "http/1.1")
	over := loadLane(t, new(reverseproxy.HTTPTransport))
	choice := over.requests.(*alpn)
	for range 3 {
		if got := protocolOver(t, choice, old); got != "HTTP/1.1" {
			t.Errorf("got %s", got)
		}
		if got := protocolOver(t, choice, modern); got != "HTTP/2.0" {
			t.Errorf("got %s", got)
		}
	}
	if got := choice.known.Load(); got != 1 {
		t.Errorf("%d upstreams are known to speak HTTP/1.1, want 1", got)
	}

	_ = oldServer.Close()
	serve(old, "h2", "http/1.1")
	for range 3 {
		if got := protocolOver(t, choice, old); got != "HTTP/2.0" {
			t.Errorf("after a change, got %s", got)
		}
	}
	if got := choice.known.Load(); got != 0 {
		t.Errorf("%d upstreams are known to speak HTTP/1.1, want none", got)
	}
	if _, ok := over.upgrades.(*h1.Transport); !ok {
		t.Errorf("upgrades go over %T", over.upgrades)
	}
}

func TestLanesGoDirectOnlyWhereAllOfTheTransportIsKnown(t *testing.T) {
	https, cleartext := backend{meaning: meaning{scheme: address.HTTPS}}, backend{meaning: meaning{scheme: address.HTTP}}
	for name, test := range map[string]struct {
		to     backend
		config reverseproxy.HTTPTransport
		env    string
		want   bool
	}{
		"cleartext":         {to: cleartext, want: true},
		"HTTPS":             {to: https, want: true},
		"HTTP/1.1 only":     {to: https, config: reverseproxy.HTTPTransport{Versions: []string{"1.1"}}, want: true},
		"HTTP/2 only":       {to: https, config: reverseproxy.HTTPTransport{Versions: []string{"2"}}},
		"HTTP/3":            {to: https, config: reverseproxy.HTTPTransport{Versions: []string{"3"}}},
		"h2c":               {to: backend{meaning: meaning{scheme: address.H2C}}},
		"a proxy":           {to: https, config: reverseproxy.HTTPTransport{NetworkProxyRaw: json.RawMessage(`{"from":"url"}`)}},
		"a deprecated one":  {to: https, config: reverseproxy.HTTPTransport{ForwardProxyURL: "http://proxy:3128"}},
		"the environment's": {to: cleartext, env: "HTTP_PROXY"},
		"another scheme's":  {to: cleartext, env: "HTTPS_PROXY", want: true},
		"in small letters":  {to: https, env: "https_proxy"},
		"hidden connections": {to: https, config: reverseproxy.HTTPTransport{ReadTimeout: 1, ProxyProtocol: "v1",
			TLS: new(reverseproxy.TLSConfig)}},
	} {
		t.Run(name, func(t *testing.T) {
			forgetProxies(t)
			if test.env != "" {
				t.Setenv(test.env, "http://proxy:3128")
			}
			if got := offLane(test.to, &test.config) == ""; got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestA101WithoutAConnectionFieldIsAnUpgrade(t *testing.T) {
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{proxytest.SelfSigned(t, "127.0.0.1")}}
	forgetProxies(t)
	for scheme, config := range map[string]*tls.Config{"http": nil, "https": tlsConfig} {
		t.Run(scheme, func(t *testing.T) {
			server := proxytest.NewScriptedTLS(t, config, func(x *proxytest.Exchange) {
				x.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: proxmox-backup-protocol-v1\r\n\r\n")
				x.Hang()
			})
			c := runCaddy(t, "proxyos "+scheme+"://"+server.Addr+" {\n\tskip_tls_verify\n}")
			client := proxytest.Dial(t, c.Addr)
			client.Send("GET / HTTP/1.1\r\nHost: " + c.Addr + "\r\nConnection: Upgrade\r\nUpgrade: proxmox-backup-protocol-v1\r\n\r\n")
			res, err := http.ReadResponse(client.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Connection") != "Upgrade" {
				t.Errorf("got %v", res)
			}
		})
	}
}

// What is limited, or what begins anew on an idle connection, is left to Caddy's own transport.
func TestWhatGoesDirect(t *testing.T) {
	forgetProxies(t)
	for name, test := range map[string]struct {
		scheme string
		config reverseproxy.HTTPTransport
		want   bool
	}{
		"HTTP":                                  {address.HTTP, reverseproxy.HTTPTransport{}, h1.Supported},
		"HTTPS":                                 {address.HTTPS, reverseproxy.HTTPTransport{TLS: new(reverseproxy.TLSConfig)}, h1.Supported},
		"h2c":                                   {address.H2C, reverseproxy.HTTPTransport{}, false},
		"HTTP with a limit":                     {address.HTTP, reverseproxy.HTTPTransport{MaxConnsPerHost: 1}, h1.Supported},
		"HTTPS with a limit":                    {address.HTTPS, reverseproxy.HTTPTransport{MaxConnsPerHost: 1}, false},
		"HTTPS with a limit, HTTP/1.1 only":     {address.HTTPS, reverseproxy.HTTPTransport{MaxConnsPerHost: 1, Versions: []string{"1.1"}}, h1.Supported},
		"HTTPS that may begin anew":             {address.HTTPS, reverseproxy.HTTPTransport{TLS: &reverseproxy.TLSConfig{Renegotiation: "freely"}}, false},
		"HTTPS that must not begin anew":        {address.HTTPS, reverseproxy.HTTPTransport{TLS: &reverseproxy.TLSConfig{Renegotiation: "never"}}, h1.Supported},
		"HTTP/3":                                {address.HTTPS, reverseproxy.HTTPTransport{Versions: []string{"3"}}, false},
		"HTTP/2 only":                           {address.HTTPS, reverseproxy.HTTPTransport{Versions: []string{"2"}}, false},
		"a proxy of its own":                    {address.HTTP, reverseproxy.HTTPTransport{NetworkProxyRaw: json.RawMessage(`{"from":"none"}`)}, false},
		"HTTPS that cannot be looked at behind": {address.HTTPS, reverseproxy.HTTPTransport{TLS: new(reverseproxy.TLSConfig), ProxyProtocol: "v1", ReadTimeout: 1}, false},
	} {
		if got := offLane(backend{meaning: meaning{scheme: test.scheme}}, &test.config) == ""; got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A body that was sent in vain before a server chose HTTP/2 is sent from its beginning.
func TestABodyThatWasSentInVainIsSentFromItsBeginning(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://server", strings.NewReader("some text"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(req.Body)
	again, err := fresh(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(again.Body); string(body) != "some text" || err != nil {
		t.Errorf("the body is %q, %v", body, err)
	}
}
