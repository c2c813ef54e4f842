package proxyos

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
)

// durations holds the one histogram of request durations, so that it goes on counting
// through config reloads.
var durations = caddy.NewUsagePool()

func acquireDurations() *prometheus.HistogramVec {
	histogram, _ := durations.LoadOrStore("", prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "caddy_proxyos_request_duration_seconds",
		Help:    "How long requests took, from their arrival to the end of the answer.",
		Buckets: prometheus.DefBuckets,
	}, []string{"route", "group"}))
	return histogram.(*prometheus.HistogramVec)
}

var (
	requestsDesc = prometheus.NewDesc("caddy_proxyos_requests_total",
		"Requests answered, by the class of their status.", []string{"route", "group", "code"}, nil)
	inFlightDesc = prometheus.NewDesc("caddy_proxyos_requests_in_flight",
		"Requests being answered.", []string{"route", "group"}, nil)
	splitDesc = prometheus.NewDesc("caddy_proxyos_traffic_split_ratio",
		"The share of requests for staging that is in force, from 0 to 1.", []string{"route"}, nil)
	fallbacksDesc = prometheus.NewDesc("caddy_proxyos_fallbacks_total",
		"Requests for staging that production took over.", []string{"route"}, nil)
)

// collector reports the counts of all routes of a configuration when it is asked, so that
// requests need not. Routes without a name are added up under the empty one.
type collector struct {
	routes func() []*Handler
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{requestsDesc, inFlightDesc, splitDesc, fallbacksDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	type key struct{ route, group, code string }
	counts := make(map[key]uint64)
	inFlight := make(map[key]int64)
	fallbacks := make(map[string]uint64)
	for _, route := range c.routes() {
		for i, g := range route.groups {
			state := &route.state.groups[i]
			inFlight[key{route: route.Name, group: g.name}] += state.inFlight.Load()
			for class := range state.byClass {
				if n := state.byClass[class].Load(); n > 0 {
					counts[key{route.Name, g.name, strconv.Itoa(class) + "xx"}] += n
				}
			}
		}
		if len(route.groups) > 1 {
			fallbacks[route.Name] += route.state.fallbacks.Load()
			if route.Name != "" {
				metrics <- prometheus.MustNewConstMetric(splitDesc, prometheus.GaugeValue, route.split.current().percent/100, route.Name)
			}
		}
	}
	for k, n := range counts {
		metrics <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(n), k.route, k.group, k.code)
	}
	for k, n := range inFlight {
		metrics <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(n), k.route, k.group)
	}
	for name, n := range fallbacks {
		metrics <- prometheus.MustNewConstMetric(fallbacksDesc, prometheus.CounterValue, float64(n), name)
	}
}

// register adds a collector to the registry of one configuration, unless it is there.
func register(registry *prometheus.Registry, c prometheus.Collector) error {
	err := registry.Register(c)
	if already := (prometheus.AlreadyRegisteredError{}); errors.As(err, &already) {
		return nil
	}
	return err
}

// Interface guards
var _ prometheus.Collector = (*collector)(nil)
