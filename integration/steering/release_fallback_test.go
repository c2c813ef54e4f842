package steering

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

func TestProductionTakesOverFromAStagingThatIsDown(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 50", "header_up X-Group {http.proxyos.group}", "header_down X-Served-By {http.proxyos.group}")
	stag.Stop()
	for range 10 {
		res, err := s.Client.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK || res.Header.Get("X-Served-By") != "production" {
			t.Fatalf("the answer is %s, of %s", res.Status, res.Header.Get("X-Served-By"))
		}
		if got := prod.Last().Header.Get("X-Group"); got != "production" {
			t.Fatalf("production is told that the group is %q", got)
		}
	}
	r := s.Route()
	if r.Fallbacks != 5 || r.Groups[production].Requests != 10 || r.Groups[staging].Requests != 0 {
		t.Errorf("%d fallbacks, %d requests of production, %d of staging; want 5, 10, 0",
			r.Fallbacks, r.Groups[production].Requests, r.Groups[staging].Requests)
	}
	if u := r.Groups[staging].Upstreams[0]; u.Health != "down" || u.Requests != 1 || u.Errors != 1 {
		t.Errorf("staging's upstream is %+v; want it tried once, failed, and down", u)
	}
	if got := s.Metrics()[`caddy_proxyos_fallbacks_total{route="app"}`]; got != 5 {
		t.Errorf("the metric counts %v fallbacks", got)
	}
}

func TestWithoutFallbackStagingsFailureIsTheAnswer(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 100", "staging_fallback off")
	stag.Stop()
	for range 5 {
		if status, _ := s.Get("/"); status != http.StatusBadGateway {
			t.Errorf("the answer is %d, want 502", status)
		}
	}
	if n := prod.Requests.Load(); n != 0 {
		t.Errorf("%d requests reached production", n)
	}
	if r := s.Route(); r.Fallbacks != 0 || r.Groups[staging].Errors != 5 {
		t.Errorf("%d fallbacks and %d errors of staging, want 0 and 5", r.Fallbacks, r.Groups[staging].Errors)
	}
	stag.Start() // it is marked down, but there is no other: requests go there all the same
	s.Wants(http.StatusOK, "staging")
}

func TestFallbackOffInJSON(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	stag.Stop()
	for fallback, want := range map[string]int{"true": http.StatusOK, "false": http.StatusBadGateway} {
		t.Run(fallback, func(t *testing.T) {
			s := runJSON(t, fmt.Sprintf(`{"handler": "proxyos", "upstreams": [%q], "staging": {"upstreams": [%q]}, "traffic_split": 100, "staging_fallback": %s}`,
				prod.Addr, stag.Addr, fallback))
			if status, _ := s.Get("/"); status != want {
				t.Errorf("the answer is %d, want %d", status, want)
			}
		})
	}
}

func TestAFailedRequestIsRetriedOnStagingFirst(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	broken := plain(t, "broken", "")
	var mu sync.Mutex // the backends answer one after the other, but know nothing of one another
	var paths []string
	pass := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, name)
	}
	passed := func() string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { paths = nil }()
		return strings.Join(paths, " ")
	}
	broken.Answer(func(w http.ResponseWriter, _ *http.Request) {
		pass("broken")
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	})
	stag.Answer(func(w http.ResponseWriter, r *http.Request) {
		pass("staging")
		if r.Header.Get("X-Fail") != "" {
			conn, _, _ := http.NewResponseController(w).Hijack()
			conn.Close()
			return
		}
		w.Header().Set("Connection", "close") // Go itself retries on a connection that was used before
		io.WriteString(w, "staging")
	})
	prod.Answer(func(w http.ResponseWriter, _ *http.Request) {
		pass("production")
		io.WriteString(w, "production")
	})
	s := newServer(t)
	config := s.BlueGreen(prod, stag, "traffic_split 100", "fail_duration 0")
	s.MustLoad(strings.Replace(config, "staging "+stag.Addr, "staging "+broken.Addr+" "+stag.Addr, 1))

	sawBoth, sawAll := false, false
	for range 4 {
		if group, _ := new(visitor).Visit(t, s); group != "staging" {
			t.Fatalf("the answer is %s's, by way of %s", group, passed())
		}
		if got := passed(); got == "broken staging" {
			sawBoth = true
		} else if got != "staging" {
			t.Fatalf("the request went by way of %s", got)
		}
		v := withHeader("X-Fail", "1")
		if group, _ := v.Visit(t, s); group != "production" {
			t.Fatalf("the answer is %s's, by way of %s", group, passed())
		}
		switch got := passed(); got {
		case "broken staging production", "staging broken production":
			sawAll = true
		default:
			t.Fatalf("the request went by way of %s", got)
		}
	}
	if !sawBoth || !sawAll {
		t.Errorf("retried within staging: %t, and then on production: %t", sawBoth, sawAll)
	}
	if r := s.Route(); r.Fallbacks != 4 {
		t.Errorf("%d fallbacks, want 4", r.Fallbacks)
	}
}

func TestARequestThatMayNotBeRetriedIsNot(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 100")
	stag.Answer(func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	})
	res, err := s.Client.Post(s.URL, "text/plain", strings.NewReader("order"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadGateway || prod.Requests.Load() != 0 {
		t.Errorf("a POST that staging took and dropped is answered with %s, and %d requests reached production; want 502 and none",
			res.Status, prod.Requests.Load())
	}
}

func TestProductionNeverSpillsIntoStaging(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 0")
	prod.Stop()
	for range 5 {
		if status, _ := s.Get("/"); status != http.StatusBadGateway {
			t.Errorf("the answer is %d, want 502", status)
		}
	}
	if n := stag.Requests.Load(); n != 0 {
		t.Errorf("%d requests reached staging", n)
	}
	if r := s.Route(); r.Groups[production].Errors != 5 {
		t.Errorf("production has %d errors, want 5", r.Groups[production].Errors)
	}
	prod.Start()
	s.Wants(http.StatusOK, "production")
}
