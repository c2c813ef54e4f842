package proxyos

import (
	"strconv"

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
	unretriedDesc = prometheus.NewDesc("caddy_proxyos_retries_over_budget_total",
		"Requests that failed and were not sent again, since the retry budget was used up.", []string{"route"}, nil)
	fallbacksDesc = prometheus.NewDesc("caddy_proxyos_fallbacks_total",
		"Requests for staging that production took over.", []string{"route"}, nil)
)

// collector reads the counts of all routes of a config when it is asked, so requests do not
// have to report them. Routes without a name are added up under the empty name. What has not
// happened yet is 0 rather than missing, or an alert on it would have no data.
type collector struct {
	routes    *registry
	upstreams bool // whether to tell of each upstream, too
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{requestsDesc, inFlightDesc, splitDesc, durationDesc, fallbacksDesc, unretriedDesc} {
		descs <- desc
	}
	describeReleases(descs)
	if c.upstreams {
		describeUpstreams(descs)
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	type key struct{ route, group, code string }
	counts := make(map[key]uint64)
	inFlight := make(map[key]int64)
	durations := make(map[key]durationCounts)
	fallbacks, unretried := make(map[string]uint64), make(map[string]uint64)
	for _, route := range c.routes.all() {
		for _, g := range route.groups {
			state := g.state
			whole := key{route: route.name, group: g.name}
			inFlight[whole] += state.inFlight.Load()
			durations[whole] = state.durations.addTo(durations[whole])
			for class := range state.byClass {
				if n := state.byClass[class].Load(); n > 0 || class > 0 { // class 0 is none that should be
					counts[key{route.name, g.name, strconv.Itoa(class) + "xx"}] += n
				}
			}
		}
		route.collectRelease(metrics)
		unretried[route.name] += route.state.unretried.Load()
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
		metrics <- d.metric(durationDesc, k.route, k.group)
	}
	for name, n := range unretried {
		metrics <- prometheus.MustNewConstMetric(unretriedDesc, prometheus.CounterValue, float64(n), name)
	}
	for name, n := range fallbacks {
		metrics <- prometheus.MustNewConstMetric(fallbacksDesc, prometheus.CounterValue, float64(n), name)
	}
	if c.upstreams {
		c.collectUpstreams(metrics)
	}
}

// Interface guards
var _ prometheus.Collector = (*collector)(nil)
