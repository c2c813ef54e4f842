package proxyos

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestMetricsAddUpRoutesWithoutAName(t *testing.T) {
	one, two := countedRoute("", 3, 500), countedRoute("", 4, 200)
	named := countedRoute("app", 5, 404)
	got := gather(t, one, two, named)
	for _, group := range []string{production, staging} { // those that have counted nothing are there, too
		for _, route := range []string{"", "app"} {
			for _, class := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
				series := "caddy_proxyos_requests_total code=" + class + " group=" + group + " route=" + route
				if _, ok := got[series]; !ok {
					t.Errorf("there is no %s", series)
				}
				if got[series] == 0 {
					delete(got, series)
				}
			}
		}
	}
	for series, want := range map[string]float64{
		"caddy_proxyos_requests_total code=5xx group=staging route=":        3,
		"caddy_proxyos_requests_total code=2xx group=staging route=":        4,
		"caddy_proxyos_requests_total code=4xx group=staging route=app":     5,
		"caddy_proxyos_requests_in_flight group=staging route=":             2,
		"caddy_proxyos_requests_in_flight group=production route=":          0,
		"caddy_proxyos_requests_in_flight group=staging route=app":          1,
		"caddy_proxyos_requests_in_flight group=production route=app":       0,
		"caddy_proxyos_fallbacks_total route=":                              2,
		"caddy_proxyos_fallbacks_total route=app":                           1,
		"caddy_proxyos_retries_over_budget_total route=":                    0,
		"caddy_proxyos_retries_over_budget_total route=app":                 0,
		"caddy_proxyos_request_duration_seconds group=staging route=":       7,
		"caddy_proxyos_request_duration_seconds group=production route=":    0,
		"caddy_proxyos_request_duration_seconds group=staging route=app":    5,
		"caddy_proxyos_request_duration_seconds group=production route=app": 0,
		"caddy_proxyos_traffic_split_ratio route=app":                       0.25,
	} {
		if got[series] != want {
			t.Errorf("%s is %v, want %v", series, got[series], want)
		}
		delete(got, series)
	}
	for series, value := range got {
		t.Errorf("unexpected: %s %v", series, value)
	}
}

func TestDurationsAreCountedAsPrometheusCountsThem(t *testing.T) {
	theirs := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Help: "x", Buckets: prometheus.DefBuckets})
	var ours durationHistogram
	durations := []time.Duration{0, time.Microsecond, time.Minute, time.Hour}
	for _, bound := range durationBounds {
		durations = append(durations, bound-time.Microsecond, bound, bound+time.Microsecond)
	}
	for _, d := range durations {
		theirs.Observe(d.Seconds())
		ours.observe(d)
	}
	want, got := histogramOf(t, theirs), histogramOf(t, ours.addTo(durationCounts{}).metric(durationDesc, "app", production))
	if want.GetSampleCount() != got.GetSampleCount() || !isNear(want.GetSampleSum(), got.GetSampleSum()) {
		t.Errorf("got %d in %v s, want %d in %v s", got.GetSampleCount(), got.GetSampleSum(), want.GetSampleCount(), want.GetSampleSum())
	}
	if got, want := bucketsOf(got), bucketsOf(want); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v, want\n%v", got, want)
	}
}

func isNear(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }

func histogramOf(t *testing.T, metric prometheus.Metric) *dto.Histogram {
	t.Helper()
	var written dto.Metric
	if err := metric.Write(&written); err != nil {
		t.Fatal(err)
	}
	return written.GetHistogram()
}

func bucketsOf(h *dto.Histogram) (buckets [][2]float64) {
	for _, b := range h.GetBucket() {
		buckets = append(buckets, [2]float64{b.GetUpperBound(), float64(b.GetCumulativeCount())})
	}
	slices.SortFunc(buckets, func(a, b [2]float64) int { return slices.Compare(a[:], b[:]) })
	return buckets
}

func TestStatusesOutsideTheClassesAreCountedTogether(t *testing.T) {
	var g groupState
	for _, status := range []int{0, 99, 600, 999, -1} {
		g.served(status, 0)
	}
	g.served(503, 0)
	if requests, failed := g.totals(); requests != 6 || failed != 1 || g.byClass[0].Load() != 5 {
		t.Errorf("%d requests, %d failed, %d of no class; want 6, 1, 5", requests, failed, g.byClass[0].Load())
	}
}

// countedRoute returns a route whose staging has answered n requests with a status, has one
// in flight, and has lost one to production.
func countedRoute(name string, n int, status int) *route {
	r := testRoute(name, newRouteState(), newSplitter(25))
	for range n {
		r.state.staging.served(status, 30*time.Millisecond)
	}
	r.state.staging.inFlight.Add(1)
	r.state.fallbacks.Add(1)
	return r
}

// gather returns the metrics of routes by name and labels.
func gather(t *testing.T, routes ...*route) map[string]float64 {
	t.Helper()
	return gatherFrom(t, &collector{routes: &registry{routes: routes}})
}

// gatherFrom returns the metrics of a collector by name and labels.
func gatherFrom(t *testing.T, c *collector) map[string]float64 {
	t.Helper()
	metrics := prometheus.NewPedanticRegistry()
	if err := metrics.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			series := family.GetName()
			for _, label := range metric.GetLabel() {
				series += " " + label.GetName() + "=" + label.GetValue()
			}
			values[series] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return values
}
