package proxyos

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// measuredRoute returns a route that is not loaded, with the upstreams of its production.
func measuredRoute(t testing.TB, name string, upstreams ...Upstream) *route {
	t.Helper()
	p, err := newPlan(&Handler{Name: name, Upstreams: upstreams}, (&App{UpstreamMetrics: true}).forRoutes())
	if err != nil {
		t.Fatal(err)
	}
	r := newRoute(p, nil, zap.NewNop())
	r.production.seat()
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// gatherMeasured returns the metrics of routes and their upstreams by name and labels.
func gatherMeasured(t *testing.T, routes ...*route) map[string]float64 {
	t.Helper()
	return gatherFrom(t, &collector{routes: &registry{routes: routes}, upstreams: true})
}

func TestUpstreamsOfTheSameLabelsAreAddedUp(t *testing.T) {
	three := 3
	one := measuredRoute(t, "", Upstream{Address: "a:1"}, Upstream{Address: "a:1", Weight: &three}, Upstream{Address: "b:1"})
	two := measuredRoute(t, "", Upstream{Address: "a:1"})
	for _, r := range []*route{one, two} {
		at := r.production.targets[0]
		at.counts.requests.Add(5)
		at.counts.inFlight.Add(1)
		at.measures.failed(errors.New("connection refused"))
		at.measures.answered(time.Now())
	}
	two.breaker.failed("a:1", time.Minute)
	got := gatherMeasured(t, one, two)
	const a, b = " group=production route= upstream=a:1", " group=production route= upstream=b:1"
	for series, want := range map[string]float64{
		"requests_total" + a:                            10,
		"requests_total" + b:                            0,
		"requests_in_flight" + a:                        2,
		"errors_total cause=connection_refused" + a:     2,
		"errors_total cause=other" + a:                  0,
		"errors_total cause=certificate_not_pinned" + b: 0,
		"healthy" + a:                                   0,
		"healthy" + b:                                   1,
		"drained" + a:                                   0,
		"weight" + a:                                    5,
		"weight" + b:                                    1,
		"response_header_seconds" + a:                   2,
		"response_header_seconds" + b:                   0,
	} {
		if value, ok := got["caddy_proxyos_upstream_"+series]; !ok || value != want {
			t.Errorf("%s is %v (%t), want %v", series, value, ok, want)
		}
	}
}

func TestAnUpstreamOnTrialIsNotHealthyYet(t *testing.T) {
	r := measuredRoute(t, "app", Upstream{Address: "a:1"}, Upstream{Address: "b:1"})
	const series = "caddy_proxyos_upstream_healthy group=production route=app upstream=a:1"
	for _, step := range []struct {
		name   string
		change func()
		want   float64
	}{
		{"at first", func() {}, 1},
		{"after a failure", func() { r.breaker.failed("a:1", time.Minute) }, 0},
		{"on trial", func() { r.breaker.forget("a:1"); r.breaker.failed("a:1", 0) }, 0},
		{"after an answer", func() { r.breaker.succeeded("a:1", 200, false) }, 1},
	} {
		step.change()
		if got := gatherMeasured(t, r)[series]; got != step.want {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}

// Whatever fails is counted once, under a cause that is there from the start.
func TestEveryFailureHasACause(t *testing.T) {
	r := measuredRoute(t, "app", Upstream{Address: "a:1"})
	series := len(gatherMeasured(t, r))
	failures := []error{nil, errors.New("something new"), errors.New("connection refused"), fmt.Errorf("dial tcp: i/o timeout")}
	for _, err := range failures {
		r.production.targets[0].measures.failed(err)
	}
	got, sum := gatherMeasured(t, r), 0.0
	for _, cause := range append([]diagnose.Cause{otherCause}, diagnose.Causes[:]...) {
		sum += got["caddy_proxyos_upstream_errors_total cause="+string(cause)+" group=production route=app upstream=a:1"]
	}
	if sum != float64(len(failures)) || len(got) != series {
		t.Errorf("%v failures are counted in %d series, want %d in %d", sum, len(got), len(failures), series)
	}
	if got := got["caddy_proxyos_upstream_errors_total cause=other group=production route=app upstream=a:1"]; got != 2 {
		t.Errorf("%v have another cause, want 2", got)
	}
}

func TestNothingIsMeasuredWhereUpstreamMetricsAreOff(t *testing.T) {
	r := plannedRoute(t, 10)
	at := r.production.targets[0]
	if at.measures != nil {
		t.Fatal("it is measured")
	}
	if allocated := testing.AllocsPerRun(100, func() {
		at.measures.failed(nil)
		at.measures.answered(at.measures.begin())
	}); allocated != 0 || !at.measures.begin().IsZero() {
		t.Errorf("%v allocations, began at %s", allocated, at.measures.begin())
	}
}

func BenchmarkMeasuringAnAttempt(b *testing.B) {
	for name, m := range map[string]*upstreamMeasures{"off": nil, "on": new(upstreamMeasures)} {
		b.Run("upstream_metrics="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.answered(m.begin())
			}
		})
	}
}
