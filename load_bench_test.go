package proxyos

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BenchmarkLoad measures how long Caddy takes to load a config of 1,000 routes, beside
// stock reverse_proxy.
func BenchmarkLoad(b *testing.B) {
	b.Run("proxyos", func(b *testing.B) { benchLoad(b, splitRoute) })
	b.Run("reverse_proxy", func(b *testing.B) { benchLoad(b, stockRoute) })
}

func benchLoad(b *testing.B, handler func(i int) object) {
	b.Helper()
	config := manyRoutes(1000, handler)
	b.Cleanup(func() { stopCaddy(b) })
	b.ReportAllocs()
	for b.Loop() {
		if err := caddy.Load(config, true); err != nil {
			b.Fatal(err)
		}
	}
}

// splitRoute is a route with an upstream in each group.
func splitRoute(i int) object {
	return object{
		"handler":       encode("proxyos"),
		"name":          encode(fmt.Sprintf("route-%d", i)),
		"upstreams":     encode([]string{fmt.Sprintf("production-%d.example:3000", i)}),
		"staging":       encode(Group{Upstreams: []Upstream{{Address: fmt.Sprintf("staging-%d.example:3000", i)}}}),
		"traffic_split": encode(10),
	}
}

// stockRoute is splitRoute as reverse_proxy can have it.
func stockRoute(i int) object {
	return object{
		"handler": encode("reverse_proxy"),
		"upstreams": encode([]map[string]string{
			{"dial": fmt.Sprintf("production-%d.example:3000", i)}, {"dial": fmt.Sprintf("staging-%d.example:3000", i)},
		}),
		"load_balancing": encode(map[string]any{
			"selection_policy": map[string]any{"policy": "weighted_round_robin", "weights": []int{9, 1}},
		}),
	}
}

// manyRoutes returns a config with so many of a handler.
func manyRoutes(count int, handler func(i int) object) []byte {
	var routes []any
	for i := range count {
		routes = append(routes, map[string]any{
			"match":  []any{map[string]any{"host": []string{fmt.Sprintf("route-%d.example.test", i)}}},
			"handle": []any{handler(i)},
		})
	}
	return encode(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "ERROR"}}},
		"apps": map[string]any{"http": map[string]any{"servers": map[string]any{"bench": map[string]any{
			"listen": []string{"127.0.0.1:0"}, "routes": routes, "automatic_https": map[string]any{"disable": true},
		}}}},
	})
}

func stopCaddy(t testing.TB) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
}

// A route takes at most a quarter more memory than one of reverse_proxy, which has no name, no
// counters and no groups.
func TestARouteTakesLittleMemory(t *testing.T) {
	const routes, bound = 1000, 1.25
	perRoute := func(handler func(i int) object) float64 {
		config := manyRoutes(routes, handler)
		var measured []float64
		for range 3 {
			before := liveBytes()
			if err := caddy.Load(config, true); err != nil {
				t.Fatal(err)
			}
			measured = append(measured, (liveBytes()-before)/routes)
			stopCaddy(t)
		}
		slices.Sort(measured)
		return measured[1]
	}
	ours, stock := perRoute(splitRoute), perRoute(stockRoute)
	t.Logf("a route takes %.0f bytes, %.2f times those of reverse_proxy", ours, ours/stock)
	if stock < 1000 || ours > bound*stock {
		t.Errorf("a route takes %.0f bytes, and one of reverse_proxy %.0f; want at most %.2f times as many", ours, stock, bound)
	}
}

// liveBytes returns how many bytes are in use once what is not has been collected.
func liveBytes() float64 {
	var stats runtime.MemStats
	for range 2 { // what sync.Pool keeps is gone after the second time
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// Finding out where each route is takes no longer in a large config: not a walk through all of it,
// which takes minutes with as many routes as these.
func TestThePlaceOfARouteIsFoundAtOnce(t *testing.T) {
	const routes, bound = 300_000, 20 * time.Second
	server := new(caddyhttp.Server)
	for range routes {
		server.Routes = append(server.Routes, caddyhttp.Route{HandlersRaw: []json.RawMessage{[]byte("{}")}})
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.WithValue(t.Context(), caddyhttp.ServerCtxKey, server)})
	defer cancel()
	var finder placeFinder
	began := time.Now()
	for i := range server.Routes {
		for range 2 { // handlers
			if found := finder.find(ctx); !slices.Equal(found.order, []int{i}) {
				t.Fatalf("route %d is found at %v", i, found.order)
			}
		}
		if server.Routes[i].HandlersRaw = nil; time.Since(began) > bound {
			t.Fatalf("%d of %d routes took more than %s", i+1, routes, bound)
		}
	}
	if found := finder.find(ctx); found.order != nil {
		t.Errorf("behind the last route, something is found at %v", found.order)
	}
}
