package proxyos

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(answeringTransport{})
}

// benchPools counts the upstreams that benchmarks have made.
var benchPools atomic.Int64

// BenchmarkServeHTTP measures a whole request through the handler, beside stock
// reverse_proxy. With the bench transport, only choosing and proxying count; with the http
// transport, whose round trips are answered without a network, so does what the transport
// of this module adds.
func BenchmarkServeHTTP(b *testing.B) {
	b.Run("transport=bench/proxyos", func(b *testing.B) {
		benchServe(b, provisionBench[*Handler](b, "http.handlers.proxyos", benchProxyos("bench")))
	})
	b.Run("transport=bench/reverse_proxy", func(b *testing.B) {
		benchServe(b, provisionBench[*reverseproxy.Handler](b, "http.handlers.reverse_proxy", benchStock("bench")))
	})
	for _, way := range []string{"on", "off"} {
		config := benchProxyos("http")
		config["fast_path"] = encode(way == "on")
		for _, under := range []string{"", "/release"} {
			b.Run("transport=http/proxyos/fast_path="+way+under, func(b *testing.B) {
				handler := provisionBench[*Handler](b, "http.handlers.proxyos", config)
				for _, g := range handler.route.groups {
					for _, t := range g.targets {
						t.requests = answeringTransport{}
					}
				}
				if under != "" {
					pace := new(releasePace)
					pace.threshold.Store(int64(time.Second))
					handler.route.state.release.Store(newReleaseRound(1, pace))
					handler.route.state.shuffle.Store(newShuffle(1))
				}
				benchServe(b, handler)
			})
		}
	}
	b.Run("transport=http/reverse_proxy", func(b *testing.B) {
		proxy := provisionBench[*reverseproxy.Handler](b, "http.handlers.reverse_proxy", benchStock("http"))
		proxy.Transport = answeringTransport{}
		benchServe(b, proxy)
	})
}

func benchServe(b *testing.B, handler caddyhttp.MiddlewareHandler) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := serveBench(handler); err != nil {
				panic(err)
			}
		}
	})
}

// BenchmarkPrepare measures what BenchmarkServeHTTP does besides calling the handler.
func BenchmarkPrepare(b *testing.B) {
	benchServe(b, nothing{})
}

type nothing struct{}

// ServeHTTP does nothing.
func (nothing) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil }

func benchProxyos(transport string) object {
	return object{
		"upstreams":     encode([]string{"production.example:80"}),
		"staging":       encode(Group{Upstreams: []Upstream{{Address: "staging.example:80"}}}),
		"traffic_split": encode(10),
		"transport":     encode(map[string]string{"protocol": transport}),
	}
}

func benchStock(transport string) object {
	return object{
		"upstreams": encode([]map[string]string{{"dial": "production.example:80"}, {"dial": "staging.example:80"}}),
		"load_balancing": encode(map[string]any{
			"selection_policy": map[string]any{"policy": "weighted_round_robin", "weights": []int{9, 1}},
		}),
		"transport": encode(map[string]string{"protocol": transport}),
	}
}

// provisionBench loads a module as Caddy would.
func provisionBench[M caddy.Module](b testing.TB, id string, config object) M {
	b.Helper()
	ctx, err := caddy.ProvisionContext(new(caddy.Config))
	if err != nil {
		b.Fatal(err)
	}
	module, err := ctx.LoadModuleByID(id, encode(config))
	if err != nil {
		b.Fatal(err)
	}
	return module.(M)
}

var benchServer = new(caddyhttp.Server)

// serveBench puts one request through a handler, prepared as a server would.
func serveBench(handler caddyhttp.MiddlewareHandler) error {
	w := httptest.NewRecorder()
	r, err := http.NewRequest(http.MethodGet, "http://bench.example/", nil)
	if err != nil {
		return err
	}
	r.RemoteAddr = "192.0.2.1:1234"
	return handler.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, benchServer), nil)
}

// answeringTransport answers every request itself.
type answeringTransport struct{}

// CaddyModule returns the Caddy module information.
func (answeringTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.bench",
		New: func() caddy.Module { return new(answeringTransport) },
	}
}

// RoundTrip answers without a network.
func (answeringTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusNoContent, ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Body: http.NoBody, Request: req,
	}, nil
}
