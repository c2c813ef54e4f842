package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// reloads is how often a config is loaded again before its cost is measured, so that a leak
// shows.
const reloads = 3

// scale is what a config of many routes costs.
type scale struct {
	load, reload       time.Duration // the reload's is the median
	heap, heapReloaded float64       // MiB, beyond an empty configuration's
	goroutines         int           // beyond an empty configuration's
	goroutinesReloaded int
}

func (s scale) loadMillis() float64   { return float64(s.load.Microseconds()) / 1000 }
func (s scale) reloadMillis() float64 { return float64(s.reload.Microseconds()) / 1000 }
func (s scale) heapMiB() float64      { return s.heap }
func (s scale) heapAfter() float64    { return s.heapReloaded }
func (s scale) routines() float64     { return float64(s.goroutines) }
func (s scale) routinesAfter() float64 {
	return float64(s.goroutinesReloaded)
}

// routeKind is a kind of handler to make routes of.
type routeKind struct {
	name    string
	handler func(i int) map[string]any
}

var routeKinds = []routeKind{
	{stockName, func(i int) map[string]any {
		return map[string]any{
			"handler":        "reverse_proxy",
			"upstreams":      []any{map[string]any{"dial": upstreamOf(i, 1)}, map[string]any{"dial": upstreamOf(i, 2)}},
			"load_balancing": map[string]any{"selection_policy": map[string]any{"policy": "weighted_round_robin", "weights": []int{9, 1}}},
		}
	}},
	{proxyosName, func(i int) map[string]any {
		return map[string]any{
			"handler": "proxyos", "name": fmt.Sprintf("route-%d", i), "traffic_split": 10,
			"upstreams": []any{upstreamOf(i, 1)}, "staging": map[string]any{"upstreams": []any{upstreamOf(i, 2)}},
		}
	}},
}

// upstreamOf returns an address for a route that no other route has. It is never dialed.
func upstreamOf(route, last int) string {
	return fmt.Sprintf("127.%d.%d.%d:%d", 1+route/256/256, route/256%256, route%256, 3000+last)
}

// routesConfig returns a Caddy config with many routes, one for each host.
func routesConfig(admin, listen string, kind routeKind, count int) ([]byte, error) {
	routes := make([]any, count)
	for i := range routes {
		routes[i] = map[string]any{
			"match":    []any{map[string]any{"host": []string{fmt.Sprintf("route-%d.example.test", i)}}},
			"handle":   []any{kind.handler(i)},
			"terminal": true,
		}
	}
	return json.Marshal(map[string]any{
		"admin": map[string]any{"listen": admin, "config": map[string]any{"persist": false}},
		"apps": map[string]any{"http": map[string]any{"servers": map[string]any{"bench": map[string]any{
			"listen": []string{listen}, "routes": routes, "automatic_https": map[string]any{"disable": true},
		}}}},
	})
}

// measureRoutes measures what configurations of many routes cost.
func measureRoutes(ctx context.Context, l *lab, opts options) error {
	t := newTable("routes", "handler", "load ms", "÷ stock", "reload ms", "÷ stock", "heap MiB", "÷ stock",
		fmt.Sprintf("heap MiB after %d reloads", reloads), "÷ stock", "goroutines", "after reloads")
	for _, count := range opts.routes {
		results := make([][]scale, len(routeKinds))
		for round := range opts.rounds {
			for i, kind := range routeKinds {
				one, err := measureScale(ctx, l, kind, count)
				if err != nil {
					return fmt.Errorf("%d routes of %s: %w", count, kind.name, err)
				}
				results[i] = append(results[i], one)
				progress("%d routes, round %d, %s: %+v", count, round+1, kind.name, one)
			}
		}
		for i, kind := range routeKinds {
			mine, stock := results[i], results[0]
			t.add(thousands(float64(count)), kind.name,
				fmt.Sprintf("%.0f", medianOf(mine, scale.loadMillis)), ratio(medianRatio(mine, stock, scale.loadMillis)),
				fmt.Sprintf("%.0f", medianOf(mine, scale.reloadMillis)), ratio(medianRatio(mine, stock, scale.reloadMillis)),
				fmt.Sprintf("%.1f", medianOf(mine, scale.heapMiB)), ratio(medianRatio(mine, stock, scale.heapMiB)),
				fmt.Sprintf("%.1f", medianOf(mine, scale.heapAfter)), ratio(medianRatio(mine, stock, scale.heapAfter)),
				thousands(medianOf(mine, scale.routines)), thousands(medianOf(mine, scale.routinesAfter)))
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Command: `%s`. Medians of %d interleaved rounds, each in a fresh Caddy; heap (live objects after a garbage collection) and goroutines beyond those of an empty configuration. Each route has a host, a production and a staging upstream.\n\n", commandLine(), opts.rounds)
	text.WriteString(describeMachine() + "\n" + t.String())
	return routesPage.write(opts.out, text.String())
}

// measureScale loads a config into a fresh Caddy, then reloads it.
func measureScale(ctx context.Context, l *lab, kind routeKind, count int) (scale, error) {
	defer l.stopAll()
	var s scale
	addresses, err := freeAddresses(2)
	if err != nil {
		return s, err
	}
	empty := fmt.Sprintf(`{"admin": {"listen": %q, "config": {"persist": false}}}`, addresses[0])
	path, err := l.write("routes.json", empty)
	if err != nil {
		return s, err
	}
	if _, err := l.start(ctx, "caddy", addresses[0], l.caddy, "run", "--config", path); err != nil {
		return s, err
	}
	admin := caddyAdmin(addresses[0])
	base, err := admin.footprint(ctx)
	if err != nil {
		return s, err
	}
	config, err := routesConfig(addresses[0], addresses[1], kind, count)
	if err != nil {
		return s, err
	}
	load := func() (time.Duration, error) {
		started := time.Now()
		err := admin.load(ctx, "application/json", config)
		return time.Since(started), err
	}
	look := func() (heap float64, goroutines int, err error) {
		time.Sleep(time.Second) // until the previous config is gone
		held, err := admin.footprint(ctx)
		return float64(held.heap-base.heap) / (1 << 20), held.goroutines - base.goroutines, err
	}
	if s.load, err = load(); err != nil {
		return s, err
	}
	if s.heap, s.goroutines, err = look(); err != nil {
		return s, err
	}
	var times []float64
	for range reloads {
		took, err := load()
		if err != nil {
			return s, err
		}
		times = append(times, float64(took))
	}
	s.reload = time.Duration(median(times))
	s.heapReloaded, s.goroutinesReloaded, err = look()
	return s, err
}
