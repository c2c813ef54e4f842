package proxyos

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// BenchmarkSelect measures the choice of an upstream for the first attempt of a request,
// by the default policy and by Caddy's own. Run it with -cpu 1,2 to see it scale.
func BenchmarkSelect(b *testing.B) {
	for _, count := range []int{2, 10, 100, 1000} {
		for _, state := range []poolState{allUp, everyOtherDown, firstHalfDown} {
			if count == 2 && state == firstHalfDown {
				continue // the same as every other
			}
			b.Run(fmt.Sprintf("upstreams=%d/%s", count, state), func(b *testing.B) {
				benchSelectors(b, count, state)
			})
		}
	}
}

func benchSelectors(b *testing.B, count int, state poolState) {
	route := newBenchRoute(b, count, state)
	g := route.production
	pool, turns := g.pool, g.seated.Load().turns
	weights := &reverseproxy.WeightedRoundRobinSelection{Weights: benchWeights(count)}
	if err := weights.Provision(caddy.Context{}); err != nil {
		b.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, "http://bench.example/", nil)
	if err != nil {
		b.Fatal(err)
	}
	stock := func(policy reverseproxy.Selector) func() *reverseproxy.Upstream {
		return func() *reverseproxy.Upstream { return policy.Select(pool, r, nil) }
	}
	fastest := new(LeastLatency)
	fastest.times.start(defaultDecay)
	fastest.times.learn(pool)
	for i, upstream := range pool {
		fastest.times.answered(upstream, http.StatusOK, time.Duration(5+i%7)*time.Millisecond)
	}
	for _, one := range []struct {
		name   string
		choose func() *reverseproxy.Upstream
	}{
		{"proxyos", func() *reverseproxy.Upstream { return turns.take(pool, g) }},
		{"weighted_round_robin", stock(weights)},
		{"round_robin", stock(new(reverseproxy.RoundRobinSelection))},
		{"random", stock(new(reverseproxy.RandomSelection))},
		{"least_latency", stock(fastest)},
		{"least_conn", stock(new(reverseproxy.LeastConnSelection))},
	} {
		b.Run(one.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if one.choose() == nil {
					b.Fatal("no upstream was chosen")
				}
			}
		})
		b.Run(one.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			var misses atomic.Int64 // Caddy's round_robin finds none at times when upstreams are down
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if one.choose() == nil {
						misses.Add(1)
					}
				}
			})
			if misses := misses.Load(); misses > 0 {
				b.ReportMetric(float64(misses)/float64(b.N), "misses/op")
			}
		})
	}
}

// poolState is which upstreams of a pool are marked down.
type poolState string

const (
	allUp          poolState = "all up"
	everyOtherDown poolState = "every other down"
	firstHalfDown  poolState = "first half down"
)

func (s poolState) isDown(i, count int) bool {
	return s == everyOtherDown && i%2 == 1 || s == firstHalfDown && i < count/2
}

// benchWeights are 9 and 1 in turns, as in a 90/10 split.
func benchWeights(count int) []int {
	weights := make([]int, count)
	for i := range weights {
		weights[i] = 9
		if i%2 == 1 {
			weights[i] = 1
		}
	}
	return weights
}

// newBenchRoute provisions a route of which some upstreams have failed and are marked
// down by the passive health check.
func newBenchRoute(b *testing.B, count int, state poolState) *route {
	b.Helper()
	config := object{
		"transport":      encode(map[string]string{"protocol": "bench"}),
		"load_balancing": encode(map[string]int{"retries": count}),
		"health_checks":  encode(map[string]any{"passive": map[string]string{"fail_duration": "1h"}}),
	}
	var upstreams []Upstream
	down := make(map[string]bool)
	for i, weight := range benchWeights(count) {
		// the state is kept by address for the whole process: have new ones for each run
		address := fmt.Sprintf("bench-%d.example:%d", benchPools.Add(1), 1000+i)
		upstreams = append(upstreams, Upstream{Address: address, Weight: &weight})
		down[address] = state.isDown(i, count)
	}
	config["upstreams"] = encode(upstreams)
	handler := provisionBench[*Handler](b, "http.handlers.proxyos", config)
	route := handler.route
	route.proxy.Transport = failingTransport(down)
	up := func() (n int) {
		for _, upstream := range route.production.pool {
			if upstream.Available() {
				n++
			}
		}
		return n
	}
	want := 0
	for _, isDown := range down {
		if !isDown {
			want++
		}
	}
	for range 200 * count {
		if up() == want {
			return route
		}
		if err := serveBench(handler); err != nil {
			b.Fatal(err)
		}
	}
	b.Fatal("after many requests, " + strconv.Itoa(up()) + " upstreams are up instead of " + strconv.Itoa(want))
	return nil
}

// failingTransport answers for the upstreams that are not down.
type failingTransport map[string]bool

// RoundTrip fails where the upstream is down.
func (t failingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t[req.URL.Host] {
		return nil, fmt.Errorf("%s is down", req.URL.Host)
	}
	return (answeringTransport{}).RoundTrip(req)
}
