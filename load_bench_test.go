package proxyos

import (
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// BenchmarkLoad measures how long Caddy takes to load a config of 1,000 routes, beside
// stock reverse_proxy.
func BenchmarkLoad(b *testing.B) {
	b.Run("proxyos", func(b *testing.B) {
		benchLoad(b, func(i int) object {
			return object{
				"handler":       encode("proxyos"),
				"name":          encode(fmt.Sprintf("route-%d", i)),
				"upstreams":     encode([]string{fmt.Sprintf("production-%d.example:3000", i)}),
				"staging":       encode(Group{Upstreams: []Upstream{{Address: fmt.Sprintf("staging-%d.example:3000", i)}}}),
				"traffic_split": encode(10),
			}
		})
	})
	b.Run("reverse_proxy", func(b *testing.B) {
		benchLoad(b, func(i int) object {
			return object{
				"handler": encode("reverse_proxy"),
				"upstreams": encode([]map[string]string{
					{"dial": fmt.Sprintf("production-%d.example:3000", i)}, {"dial": fmt.Sprintf("staging-%d.example:3000", i)},
				}),
				"load_balancing": encode(map[string]any{
					"selection_policy": map[string]any{"policy": "weighted_round_robin", "weights": []int{9, 1}},
				}),
			}
		})
	})
}

// benchLoad loads a config with 1,000 of a handler again and again.
func benchLoad(b *testing.B, handler func(i int) object) {
	b.Helper()
	var routes []any
	for i := range 1000 {
		routes = append(routes, map[string]any{
			"match":  []any{map[string]any{"host": []string{fmt.Sprintf("route-%d.example.test", i)}}},
			"handle": []any{handler(i)},
		})
	}
	config := encode(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "ERROR"}}},
		"apps": map[string]any{"http": map[string]any{"servers": map[string]any{"bench": map[string]any{
			"listen": []string{"127.0.0.1:0"}, "routes": routes, "automatic_https": map[string]any{"disable": true},
		}}}},
	})
	b.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			b.Error(err)
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := caddy.Load(config, true); err != nil {
			b.Fatal(err)
		}
	}
}
