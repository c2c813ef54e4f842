package steering

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// accessLog returns, for each path, the groups that the access log names.
func accessLog(s *server) map[string][]string {
	logged := make(map[string][]string)
	for _, entry := range s.Logs.Entries("handled request") {
		request, _ := entry["request"].(map[string]any)
		path, _ := request["uri"].(string)
		group, _ := entry["group"].(string)
		logged[path] = append(logged[path], group)
	}
	return logged
}

func TestTheAccessLogNamesTheGroupThatAnswered(t *testing.T) {
	prod, stag, dead := plain(t, "production", ""), plain(t, "staging", ""), plain(t, "dead", "")
	dead.Stop()
	s := newServer(t)
	// one of staging's two upstreams is dead and never marked down, so every other request
	// for staging is retried; and some requests fail on staging and end on production
	for _, b := range []*backend{prod, stag} {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			if b == stag && strings.HasSuffix(r.URL.Path, "7") {
				conn, _, _ := http.NewResponseController(w).Hijack()
				conn.Close()
				return
			}
			io.WriteString(w, b.Name)
		})
	}
	s.MustLoad(quiet + s.Site("log\nlog_append group {http.proxyos.group}\nlog_append route {http.proxyos.route}\n"+
		blueGreenDirective(prod.Addr, stag.Addr+" "+dead.Addr, "traffic_split 40", "fail_duration 0", "retry_budget off")))

	const requests = 1000
	var mu sync.Mutex
	answered := make(map[string]string)
	var clients sync.WaitGroup
	for client := range 10 {
		clients.Go(func() {
			for i := client; i < requests; i += 10 {
				path := fmt.Sprintf("/%d", i)
				res, err := s.Client.Get(s.URL + path)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				mu.Lock()
				answered[path] = string(body)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	eventually(t, "all requests are logged", func() bool { return len(accessLog(s)) >= requests })
	logged := accessLog(s)
	by := make(map[string]int)
	for path, group := range answered {
		by[group]++
		if !slices.Equal(logged[path], []string{group}) {
			t.Errorf("%s was answered by %s, and logged as of %v", path, group, logged[path])
		}
	}
	r := s.Route()
	if len(answered) != requests || uint64(by["production"]) != r.Groups[production].Requests || uint64(by["staging"]) != r.Groups[staging].Requests {
		t.Errorf("answered were %v, counted %d and %d", by, r.Groups[production].Requests, r.Groups[staging].Requests)
	}
	if want := uint64(by["production"]) - requests*60/100; r.Fallbacks != want || r.Fallbacks == 0 {
		t.Errorf("%d fallbacks, want %d", r.Fallbacks, want)
	}
	for _, entry := range s.Logs.Entries("handled request") {
		if entry["route"] != "app" {
			t.Fatalf("the route is logged as %v", entry["route"])
		}
	}
}

func TestPlaceholdersInHeadersAndLaterHandlers(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	s.MustLoad(s.Site("route {\n" + blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 50",
		"header_up X-Group {http.proxyos.group}", "header_up X-Route {http.proxyos.route}", "header_down X-Group {http.proxyos.group}",
		"@taken header X-Take-Over *", "handle_response @taken {\nheader X-Handled {http.proxyos.group}\n}") +
		"\nrespond \"later: {http.proxyos.route} {http.proxyos.group}\"\n}"))
	for _, b := range []*backend{prod, stag} {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/later" {
				w.Header().Set("X-Take-Over", "1")
			}
			io.WriteString(w, b.Name)
		})
	}
	seen := make(map[string]int)
	for _, path := range []string{"/", "/", "/later", "/later"} {
		before := stag.Requests.Load()
		res, err := s.Client.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		b := prod
		if stag.Requests.Load() > before {
			b = stag
		}
		seen[path+" "+b.Name]++
		if got := b.Last().Header; got.Get("X-Group") != b.Name || got.Get("X-Route") != "app" {
			t.Errorf("%s is told of the group %q of the route %q", b.Name, got.Get("X-Group"), got.Get("X-Route"))
		}
		want, header := b.Name, "X-Group"
		if path == "/later" {
			want, header = "later: app "+b.Name, "X-Handled"
		}
		if string(body) != want || res.Header.Get(header) != b.Name {
			t.Errorf("%s of %s: the answer is %q, %s is %q; want %q, %q", path, b.Name, body, header, res.Header.Get(header), want, b.Name)
		}
	}
	if len(seen) != 4 {
		t.Errorf("requested were only %v", seen)
	}
}

func TestARequestIsLoggedOnceAtDebugLevel(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	stag.Stop()
	s := run(t, blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 50", "fail_duration 0"))
	for range 10 {
		s.Wants(http.StatusOK, "production")
	}
	own := make(map[string]int)
	for _, entry := range s.Logs.Entries("") {
		if logger, _ := entry["logger"].(string); logger != "http.handlers.proxyos" || entry["level"] != "debug" {
			continue
		}
		switch message := entry["msg"].(string); message {
		case "selected upstream", "upstream roundtrip": // reverse_proxy's own, one for each attempt
		default:
			own[message]++
			if entry["route"] != "app" || entry["group"] != "production" {
				t.Errorf("logged is %v", entry)
			}
		}
	}
	if len(own) != 1 || own["request served"] != 10 {
		t.Errorf("10 requests are logged as %v", own)
	}
}

func TestAGroupThatIsLostAndComesBackIsLogged(t *testing.T) {
	s, _, stag := blueGreen(t, "traffic_split 50", "health_uri /", "health_interval 50ms")
	lost := func() []logEntry { return s.Logs.Entries("no upstream of the group is available") }
	back := func() []logEntry { return s.Logs.Entries("is available again") }
	s.Tally(10)
	if len(lost())+len(back()) > 0 {
		t.Errorf("logged while all is well:\n%s", s.Logs)
	}
	stag.Stop()
	eventually(t, "the lost group is logged", func() bool { return len(lost()) == 1 })
	stag.Start()
	eventually(t, "its return is logged", func() bool { return len(back()) == 1 })
	for _, entry := range []logEntry{lost()[0], back()[0]} {
		if entry["level"] != "info" || entry["group"] != "staging" || entry["route"] != "app" {
			t.Errorf("logged is %v", entry)
		}
	}
	if len(lost()) != 1 || len(back()) != 1 {
		t.Errorf("logged %d and %d times", len(lost()), len(back()))
	}
}

func TestMetricsContinueThroughAReload(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	other := freeAddr(t)
	config := func(addr string) string {
		return "http://" + addr + " {\n" + blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 25", "staging_when path /never") + "\n}\n" +
			"http://" + freeAddr(t) + " {\nmetrics /m\nproxyos " + prod.Addr + "\n}\n"
	}
	s.MustLoad(config(s.Addr))
	want := func(when string, requests float64) {
		t.Helper()
		eventually(t, "the requests are counted", func() bool {
			return s.Metrics()[`caddy_proxyos_request_duration_seconds_count{group="production",route="app"}`] >= requests*3/4
		})
		got := s.Metrics()
		for series, value := range map[string]float64{
			`caddy_proxyos_requests_total{code="2xx",group="production",route="app"}`:              requests * 3 / 4,
			`caddy_proxyos_requests_total{code="2xx",group="staging",route="app"}`:                 requests / 4,
			`caddy_proxyos_request_duration_seconds_count{group="production",route="app"}`:         requests * 3 / 4,
			`caddy_proxyos_request_duration_seconds_count{group="staging",route="app"}`:            requests / 4,
			`caddy_proxyos_requests_in_flight{group="production",route="app"}`:                     0,
			`caddy_proxyos_requests_in_flight{group="staging",route="app"}`:                        0,
			`caddy_proxyos_traffic_split_ratio{route="app"}`:                                       0.25,
			`caddy_proxyos_fallbacks_total{route="app"}`:                                           0,
			`caddy_proxyos_requests_in_flight{group="production",route=""}`:                        0,
			`caddy_proxyos_request_duration_seconds_bucket{group="staging",route="app",le="+Inf"}`: requests / 4,
		} {
			if n, ok := got[series]; !ok || n != value {
				t.Errorf("%s: %s is %v (%t), want %v", when, series, n, ok, value)
			}
		}
		for series := range got {
			if strings.Contains(series, "127.0.0.1") {
				t.Errorf("%s: a series with data of its own: %s", when, series)
			}
		}
	}
	s.Tally(100)
	want("before the reload", 100)
	series := slices.Sorted(maps.Keys(s.Metrics()))
	s.MustLoad(config(other)) // on another server
	want("after it", 100)
	if again := slices.Sorted(maps.Keys(s.Metrics())); !slices.Equal(again, series) {
		t.Errorf("the series were\n%v\nand are\n%v", series, again)
	}
	s.URL = "http://" + other
	s.Tally(100)
	want("after more requests", 200)
	s.MustLoad(s.Site("respond ok"))
	if got := s.Metrics(); len(got) > 0 {
		t.Errorf("without a route there are still %v", got)
	}
	s.MustLoad(config(s.Addr))
	s.URL = "http://" + s.Addr
	if got := s.Metrics()[`caddy_proxyos_requests_total{code="2xx",group="staging",route="app"}`]; got != 0 {
		t.Errorf("a route that was gone still counts %v requests", got)
	}
}
