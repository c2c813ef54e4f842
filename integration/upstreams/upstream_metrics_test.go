package upstreams

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// measuredSite is a Caddy whose route "app" has upstreams that fail, each in its own way.
type measuredSite struct {
	*lab.Server
	t                                       *testing.T
	good, refused, resetting, silent, other string // addresses; the last is staging's
}

func newMeasuredSite(t *testing.T) *measuredSite {
	t.Helper()
	return &measuredSite{
		Server: newServer(t), t: t,
		good:      proxytest.Plain(t, "good", "").Addr,
		refused:   proxytest.Refused(t),
		resetting: proxytest.NewScripted(t, proxytest.ResetUnanswered).Addr,
		silent:    proxytest.NewScripted(t, (*proxytest.Exchange).Hang).Addr,
		other:     proxytest.Plain(t, "other", "").Addr,
	}
}

// caddyfile returns the config, with the global option as given.
func (s *measuredSite) caddyfile(option string) string {
	return "{\nproxyos {\n" + option + "\n}\n}\n" + s.Site(fmt.Sprintf(`proxyos %s %s %s {
		name app
		upstream %s {
			weight 2
		}
		lb_retries 3
		staging %s
		traffic_split 0
		transport http {
			response_header_timeout 200ms
		}
	}`, s.refused, s.resetting, s.silent, s.good, s.other))
}

// json returns the same config in JSON.
func (s *measuredSite) json(app string) string {
	return fmt.Sprintf(`{"apps": {"proxyos": %s, "http": {"servers": {"test": {"listen": [%q], "automatic_https": {"disable": true}, "routes": [{"handle": [
		{"handler": "proxyos", "name": "app", "upstreams": [%q, %q, %q, {"address": %q, "weight": 2}], "load_balancing": {"retries": 3},
			"staging": {"upstreams": [%q]}, "traffic_split": 0, "transport": {"protocol": "http", "response_header_timeout": "200ms"}}]}]}}}}}`,
		app, s.Addr, s.refused, s.resetting, s.silent, s.good, s.other)
}

// series returns the metrics of upstreams, by what follows their common beginning.
func (s *measuredSite) series() map[string]float64 {
	s.t.Helper()
	res, err := s.Client.Get("http://" + s.Admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	values := make(map[string]float64)
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if rest, ok := strings.CutPrefix(name, "caddy_proxyos_upstream_"); ok {
			if values[rest], err = strconv.ParseFloat(value, 64); err != nil {
				s.t.Errorf("%s: %v", lines.Text(), err)
			}
		}
	}
	return values
}

// errorsOf returns the series of an upstream's errors of a cause.
func errorsOf(upstream string, cause diagnose.Cause) string {
	return fmt.Sprintf("errors_total{cause=%q,group=%q,route=%q,upstream=%q}", cause, "production", "app", upstream)
}

// ofUpstream returns a series of an upstream of production.
func ofUpstream(name, upstream string) string {
	return fmt.Sprintf("%s{group=%q,route=%q,upstream=%q}", name, "production", "app", upstream)
}

func (s *measuredSite) wants(when string, want map[string]float64) {
	s.t.Helper()
	got := s.series()
	for series, value := range want {
		if n, ok := got[series]; !ok || n != value {
			s.t.Errorf("%s: %s is %v (%t), want %v", when, series, n, ok, value)
		}
	}
}

func TestMetricsOfEachUpstream(t *testing.T) {
	for name, load := range map[string]func(*measuredSite) error{
		"Caddyfile": func(s *measuredSite) error { return s.Load(s.caddyfile("upstream_metrics")) },
		"JSON":      func(s *measuredSite) error { return s.LoadJSON(s.json(`{"upstream_metrics": true}`)) },
	} {
		for _, fastPath := range []string{"on", "off"} {
			t.Run(name+", fast_path "+fastPath, func(t *testing.T) {
				t.Setenv("PROXYOS_FAST_PATH", fastPath)
				s := newMeasuredSite(t)
				if err := load(s); err != nil {
					t.Fatal(err)
				}
				s.checkMeasured(load)
			})
		}
	}
}

func (s *measuredSite) checkMeasured(load func(*measuredSite) error) {
	atFirst := s.series()
	for series, value := range atFirst {
		if name, _, _ := strings.Cut(series, "{"); value != 0 && name != "healthy" && name != "weight" {
			s.t.Errorf("at first %s is %v", series, value)
		}
	}
	failing := map[string]diagnose.Cause{s.refused: diagnose.Refused, s.resetting: diagnose.Reset, s.silent: diagnose.Timeout}
	want := map[string]float64{ofUpstream("weight", s.good): 2, ofUpstream("healthy", s.good): 1}
	for addr := range failing {
		want[ofUpstream("healthy", addr)], want[ofUpstream("weight", addr)] = 1, 1
		for _, cause := range diagnose.Causes {
			want[errorsOf(addr, cause)] = 0
		}
		want[errorsOf(addr, "other")] = 0
	}
	s.wants("at first", want)

	const requests = 10
	for range requests {
		if status, body := s.Get("/"); status != http.StatusOK || body != "good" {
			s.t.Errorf("%d %q", status, body)
		}
	}
	for addr, cause := range failing {
		want[ofUpstream("requests_total", addr)], want[errorsOf(addr, cause)] = 1, 1
		want[ofUpstream("healthy", addr)], want[ofUpstream("response_header_seconds_count", addr)] = 0, 0
	}
	want[ofUpstream("requests_total", s.good)], want[ofUpstream("response_header_seconds_count", s.good)] = requests, requests
	want[ofUpstream("requests_in_flight", s.good)] = 0
	proxytest.Eventually(s.t, "the requests are over", func() bool { return s.series()[ofUpstream("requests_in_flight", s.good)] == 0 })
	s.wants("after some requests", want)
	if got := len(s.series()); got != len(atFirst) {
		s.t.Errorf("there are %d series, and were %d at first", got, len(atFirst))
	}

	if err := load(s); err != nil {
		s.t.Fatal(err)
	}
	s.wants("after a reload", want)
	s.patch(s.good, `{"weight": 7}`)
	s.patch(s.silent, `{"state": "drain"}`)
	want[ofUpstream("weight", s.good)], want[ofUpstream("drained", s.silent)], want[ofUpstream("drained", s.good)] = 7, 1, 0
	s.wants("after steering", want)
}

// patch steers an upstream of the route.
func (s *measuredSite) patch(upstream, change string) {
	s.t.Helper()
	if status, answer := s.Ask(http.MethodPatch, "/proxyos/routes/app/upstreams/"+upstream, change); status != http.StatusOK {
		s.t.Errorf("PATCH %s: %d %s", change, status, answer)
	}
}

func TestUpstreamMetricsAreOffUnlessAskedFor(t *testing.T) {
	s := newMeasuredSite(t)
	for _, option := range []string{"fast_path on", "upstream_metrics off"} {
		s.MustLoad(s.caddyfile(option))
		s.Get("/")
		if got := s.series(); len(got) > 0 {
			t.Errorf("%s: there are %v", option, got)
		}
	}
	s.MustLoad(s.caddyfile("upstream_metrics on"))
	if got := s.series(); len(got) == 0 {
		t.Error("a reload does not turn them on")
	}
}

// Attempts over a transport that is not http are counted, too, though nobody knows why they fail.
func TestFailuresOverAnotherTransportAreCounted(t *testing.T) {
	s := newMeasuredSite(t)
	s.MustLoad("{\nproxyos {\nupstream_metrics\n}\n}\n" + s.Site("proxyos "+s.refused+" {\nname app\ntransport fastcgi\n}"))
	if status, _ := s.Get("/"); status != http.StatusBadGateway {
		t.Errorf("answered with %d", status)
	}
	s.wants("after a failure", map[string]float64{
		ofUpstream("requests_total", s.refused): 1, errorsOf(s.refused, "other"): 1, errorsOf(s.refused, diagnose.Refused): 0,
	})
}
