package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestAMixedPoolIsCheckedEachInItsOwnWay(t *testing.T) {
	kinds := lab.AllKinds(t)
	directives := "proxyos {\n"
	for _, kind := range kinds {
		directives += kind.Option + "\n"
		kind.Backend.Answer(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, kind.Name) // the health check's path answers, too
		})
	}
	directives += "health_uri /up\nhealth_interval 20ms\nhealth_timeout 2s\nfail_duration 0\n}"
	bothForms(t, directives, func(t *testing.T, s *server) {
		eventually(t, "all upstreams serve", func() bool { return len(s.Tally(2*len(kinds))) == len(kinds) })
		for _, down := range kinds {
			down.Backend.Stop()
			eventually(t, down.Name+" is down", func() bool { return failsNow(down, s) })
			if counts := s.Tally(12); counts[down.Name] != 0 || len(counts) != len(kinds)-1 {
				t.Errorf("without %s: %v, want the same for each of the others", down.Name, counts)
			}
			down.Backend.Start()
			eventually(t, down.Name+" is up again", func() bool { return s.Tally(len(kinds))[down.Name] > 0 })
		}
		for _, kind := range kinds {
			wants := map[string]string{"h2c": "HTTP/2.0", "verified": "HTTP/2.0", "skipped": "HTTP/2.0"}
			eventually(t, kind.Name+" is asked for /up", func() bool { return kind.Backend.Last().URL.Path == "/up" })
			if got := kind.Backend.Last().Proto; wants[kind.Name] != "" && got != wants[kind.Name] {
				t.Errorf("%s is checked over %s, want %s", kind.Name, got, wants[kind.Name])
			}
		}
	})
}

// failsNow tells whether the active check has marked the upstream down: no request is
// tried there any more.
func failsNow(k lab.Kind, s *server) bool {
	s.Logs.Forget()
	if counts := s.Tally(10); counts["502"] > 0 {
		return false
	}
	for _, entry := range s.Logs.Entries("upstream roundtrip") {
		if upstream, _ := entry["upstream"].(string); strings.Contains(upstream, k.Backend.Addr) {
			return false
		}
	}
	return true
}

func TestAnUnverifiableUpstreamIsDown(t *testing.T) {
	wrong, right := untrusted(t, "wrong", ""), plain(t, "right", "")
	bothForms(t, "proxyos https://"+wrong.Addr+" http://"+right.Addr+" {\nhealth_uri /up\nhealth_interval 20ms\n}", func(t *testing.T, s *server) {
		eventually(t, "the check has failed", func() bool {
			for _, entry := range s.Logs.Entries("HTTP request failed") {
				if strings.Contains(fmt.Sprint(entry["error"]), "certificate") {
					return true
				}
			}
			return false
		})
		if counts := s.Tally(10); counts["right"] != 10 || wrong.Requests.Load() != 0 {
			t.Errorf("10 requests: %v, want all answered by the other", counts)
		}
	})
}

func TestHealthPortAndHealthUpstreamKeepTheUpstreamsOwnWay(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	verified := signedBy(t, ca, "verified", "")
	skipped := untrusted(t, "skipped", "127.0.0.2")
	cleartext := plain(t, "plain", "127.0.0.3")
	checks := signedBy(t, ca, "checks", "127.0.0.1")
	port := proxytest.PortOf(t, checks.Addr)
	untrusted(t, "checks", "127.0.0.2:"+port)
	plain(t, "checks", "127.0.0.3:"+port)
	upstreams := "upstream https://" + verified.Addr + " {\ntls_trust_pool file " + ca.File + "\n}\nupstream https://" + skipped.Addr +
		" {\nskip_tls_verify\n}\nupstream http://" + cleartext.Addr + "\n"
	common := "health_uri /up\nhealth_interval 20ms\nfail_duration 0\n}"

	t.Run("port", func(t *testing.T) {
		bothForms(t, "proxyos {\n"+upstreams+"health_port "+port+"\n"+common, func(t *testing.T, s *server) {
			checks.ForgetLast()
			eventually(t, "the verified one's port for checks is asked", func() bool { return checks.Last() != nil })
			if got := checks.Last(); got.TLS == nil || got.Header.Get("Proxyos-Health-Target") != "" {
				t.Errorf("the check came with TLS %v and header %v", got.TLS != nil, got.Header)
			}
			if counts := s.Tally(9); len(counts) != 3 {
				t.Errorf("9 requests: %v, want 3 each, since all checks pass", counts)
			}
			if failed := s.Logs.Entries("HTTP request failed"); len(failed) > 0 {
				t.Errorf("a check failed: %v", failed[0]["error"])
			}
			checks.Stop()
			eventually(t, "the verified one is down, by its check alone", func() bool {
				counts := s.Tally(10)
				return counts["verified"] == 0 && counts["skipped"] == 5 && counts["plain"] == 5
			})
			checks.Start()
			eventually(t, "it is up again", func() bool { return s.Tally(9)["verified"] == 3 })
		})
	})
	t.Run("upstream", func(t *testing.T) {
		bothForms(t, "proxyos {\nupstream https://"+verified.Addr+" {\ntls_trust_pool file "+ca.File+"\n}\nhealth_upstream "+checks.Addr+"\n"+common, func(t *testing.T, s *server) {
			before := checks.Requests.Load()
			eventually(t, "the upstream for checks is asked over TLS", func() bool {
				return checks.Requests.Load() > before+3 && checks.Last().TLS != nil
			})
			s.Wants(http.StatusOK, "verified")
		})
	})
}

func TestActiveChecksLookAtWhatIsConfigured(t *testing.T) {
	app := plain(t, "app", "")
	var status atomic.Int64
	for _, test := range []struct {
		options string
		healthy func(http.ResponseWriter, *http.Request) bool
	}{
		{"health_status 3xx", func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(int(status.Load())); return false }},
		{"health_method HEAD", func(w http.ResponseWriter, r *http.Request) bool { return r.Method == "HEAD" }},
		{"health_headers {\nX-Check yes\n}", func(w http.ResponseWriter, r *http.Request) bool { return r.Header.Get("X-Check") == "yes" }},
		{"health_method POST\nhealth_request_body ping", func(w http.ResponseWriter, r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			return string(body) == "ping"
		}},
	} {
		t.Run(test.options, func(t *testing.T) {
			app.Answer(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/up" && !test.healthy(w, r) {
					w.WriteHeader(http.StatusTeapot)
				}
			})
			status.Store(http.StatusFound)
			bothForms(t, "proxyos "+app.Addr+" "+freeAddr(t)+" {\nhealth_uri /up\nhealth_interval 20ms\n"+test.options+"\n}", func(t *testing.T, s *server) {
				eventually(t, "the one that does not answer is down", func() bool { return len(s.Logs.Entries("HTTP request failed")) > 0 })
				if bad := s.Logs.Entries("status code"); len(bad) > 0 {
					t.Errorf("the other fails its check: %v", bad[0])
				}
			})
		})
	}
	t.Run("health_body, health_fails, health_passes", func(t *testing.T) {
		var word atomic.Value
		word.Store("fine")
		app.Answer(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, word.Load()) })
		other := plain(t, "other", "")
		other.Answer(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "fine too") })
		bothForms(t, "proxyos "+app.Addr+" "+other.Addr+" {\nhealth_uri /up\nhealth_interval 20ms\nhealth_body fine\nhealth_fails 2\nhealth_passes 2\n}", func(t *testing.T, s *server) {
			s.Wants(http.StatusOK, "fine")
			word.Store("ill")
			eventually(t, "the app is down", func() bool { return s.Tally(4)["fine too"] == 4 })
			word.Store("fine")
			eventually(t, "the app is up", func() bool { return s.Tally(4)["fine"] == 2 })
		})
	})
}

func TestPassiveChecksStrikeByStatusLatencyAndCount(t *testing.T) {
	for _, test := range []struct {
		option string
		bad    http.HandlerFunc
	}{
		{"unhealthy_status 5xx", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
		{"unhealthy_latency 20ms", func(w http.ResponseWriter, r *http.Request) { time.Sleep(30 * time.Millisecond) }},
	} {
		t.Run(test.option, func(t *testing.T) {
			backends, addresses := pool(t, "bad", "good")
			backends[0].Answer(test.bad)
			bothForms(t, "proxyos"+addresses+" {\nfail_duration 1h\nmax_fails 2\n"+test.option+"\n}", func(t *testing.T, s *server) {
				before := backends[0].Requests.Load()
				s.Tally(10)
				if got := backends[0].Requests.Load() - before; got != 2 {
					t.Errorf("the bad upstream has had %d of 10 requests, want the 2 that it may fail", got)
				}
			})
		})
	}
	t.Run("unhealthy_request_count 1", func(t *testing.T) {
		backends, addresses := pool(t, "busy", "free")
		arrived, release := make(chan struct{}), make(chan struct{})
		s := run(t, "proxyos"+addresses+" {\nunhealthy_request_count 1\nlb_policy first\n}")
		backends[0].Answer(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release })
		done := make(chan struct{})
		go func() { s.Get("/"); close(done) }()
		<-arrived
		if counts := s.Tally(10); counts["free"] != 10 {
			t.Errorf("10 requests: %v, want all to the one that is free", counts)
		}
		close(release)
		<-done
	})
}

func TestAnUpstreamThatFailedIsAvoidedForTheTimeGiven(t *testing.T) {
	app, other := plain(t, "app", ""), plain(t, "other", "")
	for _, test := range []struct{ options, want string }{
		{"fail_duration 0", "is tried each time"},
		{"", "is avoided"},
		{"fail_duration 1h", "is avoided"},
		{"fail_duration 1h\nmax_fails 3", "is tried three times"},
	} {
		t.Run(test.options, func(t *testing.T) {
			bothForms(t, "proxyos "+app.Addr+" "+other.Addr+" {\nlb_policy first\n"+test.options+"\n}", func(t *testing.T, s *server) {
				app.Stop()
				s.Tally(6)
				tries := 0
				for _, entry := range s.Logs.Entries("upstream roundtrip") {
					if entry["upstream"] == app.Addr {
						tries++
					}
				}
				want := map[string]int{"is tried each time": 6, "is avoided": 1, "is tried three times": 3}[test.want]
				if tries != want {
					t.Errorf("it has been tried %d times by 6 requests, want %d: it %s", tries, want, test.want)
					t.Logf("the log:\n%s", s.Logs)
				}
				app.Start()
			})
		})
	}
}
