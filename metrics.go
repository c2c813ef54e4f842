package proxyos

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	requestsDesc = prometheus.NewDesc("caddy_proxyos_requests_total",
		"Requests answered, by status class.", []string{"route", "group", "code"}, nil)
	inFlightDesc = prometheus.NewDesc("caddy_proxyos_requests_in_flight",
		"Requests in flight.", []string{"route", "group"}, nil)
	splitDesc = prometheus.NewDesc("caddy_proxyos_traffic_split_ratio",
		"The share of requests for staging that applies, from 0 to 1.", []string{"route"}, nil)
	durationDesc = prometheus.NewDesc("caddy_proxyos_request_duration_seconds",
		"How long requests took, from arrival to the end of the answer.", []string{"route", "group"}, nil)
	fallbacksDesc = prometheus.NewDesc("caddy_proxyos_fallbacks_total",
		"Requests for staging that production took over.", []string{"route"}, nil)
)

// collector reads the counts of all routes of a config when it is asked, so requests do not
// have to report them. Routes without a name are added up under the empty name.
type collector struct {
	routes *registry
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{requestsDesc, inFlightDesc, splitDesc, durationDesc, fallbacksDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	type key struct{ route, group, code string }
	counts := make(map[key]uint64)
	inFlight := make(map[key]int64)
	durations := make(map[key]durationCounts)
	fallbacks := make(map[string]uint64)
	for _, route := range c.routes.all() {
		for _, g := range route.groups {
			state := g.state
			whole := key{route: route.name, group: g.name}
			inFlight[whole] += state.inFlight.Load()
			durations[whole] = state.durations.addTo(durations[whole])
			for class := range state.byClass {
				if n := state.byClass[class].Load(); n > 0 {
					counts[key{route.name, g.name, strconv.Itoa(class) + "xx"}] += n
				}
			}
		}
		if route.staging != nil {
			fallbacks[route.name] += route.state.fallbacks.Load()
			if route.name != "" {
				metrics <- prometheus.MustNewConstMetric(splitDesc, prometheus.GaugeValue, route.split.current().percent/100, route.name)
			}
		}
	}
	for k, n := range counts {
		metrics <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(n), k.route, k.group, k.code)
	}
	for k, n := range inFlight {
		metrics <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(n), k.route, k.group)
	}
	for k, d := range durations {
		metrics <- d.metric(k.route, k.group)
	}
	for name, n := range fallbacks {
		metrics <- prometheus.MustNewConstMetric(fallbacksDesc, prometheus.CounterValue, float64(n), name)
	}
}

// durationBounds are the upper bounds of the buckets: the defaults of Prometheus.
var durationBounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// durationHistogram counts durations. It takes a tenth of the memory of a histogram of the
// Prometheus client, and each route has two.
type durationHistogram struct {
	buckets [len(durationBounds) + 1]atomic.Uint64 // the last: longer than any bound
	micros  atomic.Uint64                          // the sum, in microseconds
}

// observe counts a duration.
func (h *durationHistogram) observe(d time.Duration) {
	bucket := 0
	for bucket < len(durationBounds) && d > durationBounds[bucket] {
		bucket++
	}
	h.buckets[bucket].Add(1)
	h.micros.Add(uint64(d.Round(time.Microsecond).Microseconds()))
}

// durationCounts is the state of one histogram, or the sum of several.
type durationCounts struct {
	buckets [len(durationBounds) + 1]uint64
	micros  uint64
}

// addTo adds what h has counted.
func (h *durationHistogram) addTo(c durationCounts) durationCounts {
	for i := range h.buckets {
		c.buckets[i] += h.buckets[i].Load()
	}
	c.micros += h.micros.Load()
	return c
}

// metric returns the counts as Prometheus wants them: each bucket includes those before it.
func (c durationCounts) metric(labels ...string) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(durationBounds))
	count := uint64(0)
	for i, bound := range durationBounds {
		count += c.buckets[i]
		cumulative[bound.Seconds()] = count
	}
	count += c.buckets[len(durationBounds)]
	return prometheus.MustNewConstHistogram(durationDesc, count, float64(c.micros)/1e6, cumulative, labels...)
}

// Interface guards
var _ prometheus.Collector = (*collector)(nil)
