package integration

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// deadAndAlive is a pool of two upstreams, one of which refuses connections. The name
// server of its transport counts the attempts to connect to it.
func deadAndAlive(t testing.TB, options string) (directives string, alive *backend, names *proxytest.NameServer) {
	alive = plain(t, "alive", "")
	names = proxytest.NewNameServer(t, "dead.test. 0 IN A 127.0.0.1", "alive.test. 0 IN A 127.0.0.1")
	dead := "dead.test:" + proxytest.PortOf(t, freeAddr(t))
	return "proxyos " + dead + " alive.test:" + proxytest.PortOf(t, alive.Addr) + " {\n" + options +
		"\ntransport http {\nresolvers " + names.Addr + "\n}\n}", alive, names
}

func TestClientsDoNotNoticeADeadUpstream(t *testing.T) {
	directives, alive, names := deadAndAlive(t, "")
	s := lab.RunQuietly(t, directives)
	requests := lab.Sized(2500, 10_000, 10_000)
	started := time.Now()
	if failed := s.Crowd(32, requests, func() *http.Request { return s.Request("GET", "/", nil) }); failed > 0 {
		t.Errorf("%d of %d GET requests failed", failed, requests)
	}
	if failed := s.Crowd(32, requests, func() *http.Request { return s.Request("POST", "/", strings.NewReader("hello")) }); failed > 0 {
		t.Errorf("%d of %d POST requests failed", failed, requests)
	}
	if got := alive.Requests.Load(); got != int64(2*requests) {
		t.Errorf("the upstream that is alive has had %d requests, want %d", got, 2*requests)
	}
	periods := 1 + int(time.Since(started)/(10*time.Second))
	tries := names.Asked("dead.test")
	if tries < 1 || tries > 3*periods {
		t.Errorf("the dead upstream has been tried %d times in %s, want one to three times each 10 s", tries, time.Since(started))
	}
}

func TestADeadUpstreamIsTriedByOneRequestEachPeriod(t *testing.T) {
	const period = 200 * time.Millisecond
	directives, _, names := deadAndAlive(t, "fail_duration 200ms")
	s := lab.RunQuietly(t, directives)
	for range 2 { // of those that meet it first at once, some may not wait for the one that dials
		if failed := s.Crowd(1, 1, func() *http.Request { return s.Request("GET", "/", nil) }); failed > 0 {
			t.Fatal("a request failed")
		}
	}
	started := time.Now()
	for time.Since(started) < 5*period {
		if failed := s.Crowd(32, 320, func() *http.Request { return s.Request("GET", "/", nil) }); failed > 0 {
			t.Fatalf("%d requests failed", failed)
		}
	}
	periods := 1 + int(time.Since(started)/period)
	if tries := names.Asked("dead.test"); tries < 2 || tries > periods+2 {
		t.Errorf("the dead upstream has been tried %d times in %d periods, want once each", tries, periods)
	}
}

func TestAnUpstreamThatHasFailedIsTrustedOnceItHasAnswered(t *testing.T) {
	a, b := plain(t, "a", ""), plain(t, "b", "")
	bothForms(t, "proxyos "+a.Addr+" "+b.Addr+" {\nfail_duration 100ms\n}", func(t *testing.T, s *server) {
		a.Stop()
		for range 10 {
			s.Wants(http.StatusOK, "b")
		}
		a.Start()
		release, arrived := make(chan struct{}), make(chan struct{}, 1)
		a.Answer(func(w http.ResponseWriter, r *http.Request) {
			select {
			case arrived <- struct{}{}:
				<-release
			default:
			}
			io.WriteString(w, "a")
		})
		go func() { // the trial
			for {
				_, body := s.Get("/")
				if body == "a" {
					return
				}
			}
		}()
		<-arrived
		if counts := s.Tally(20); counts["b"] != 20 {
			t.Errorf("while a is on trial, 20 requests went to %v, want all to b", counts)
		}
		close(release)
		eventually(t, "a has its share again", func() bool { return s.Tally(20)["a"] == 10 })
		a.Answer(nil)
	})
}

func TestARetryGoesToAnUpstreamThatIsNotTriedYet(t *testing.T) {
	for _, policy := range []string{"", "lb_policy first", "lb_policy random", "lb_policy round_robin", "lb_policy ip_hash", "lb_policy uri_hash", "lb_policy least_conn"} {
		t.Run(policy, func(t *testing.T) {
			// two upstreams that take connections and answer nothing
			first, second, app := newCutter(t), newCutter(t), plain(t, "app", "")
			bothForms(t, "proxyos "+first.Addr+" "+second.Addr+" "+app.Addr+" {\nfail_duration 0\n"+policy+"\n}", func(t *testing.T, s *server) {
				for range 12 {
					before := first.Count() + second.Count()
					s.Wants(http.StatusOK, "app")
					if tries := first.Count() + second.Count() - before; tries > 2 {
						t.Errorf("%d attempts at two dead upstreams", tries)
					}
				}
			})
		})
	}
}

func TestARetryGoesToATriedUpstreamWhereNoOtherIsLeft(t *testing.T) {
	dead := newCutter(t)
	bothForms(t, "proxyos "+dead.Addr+" {\nlb_retries 3\n}", func(t *testing.T, s *server) {
		before := dead.Count()
		s.Wants(http.StatusBadGateway, "")
		if tries := dead.Count() - before; tries != 4 {
			t.Errorf("the one upstream was tried %d times, want 4", tries)
		}
	})
}

func TestABodyThatWasPartlySentIsNotSentAgain(t *testing.T) {
	dead, app := newCutter(t), plain(t, "app", "")
	var whole atomic.Int64 // bodies that arrived from the first byte to the last
	app.Answer(func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); n > 0 && err == nil {
			whole.Add(1)
		}
		io.WriteString(w, "app")
	})
	bothForms(t, "proxyos "+dead.Addr+" "+app.Addr+" {\nfail_duration 0\nlb_policy first\nretry_buffer 0\n}", func(t *testing.T, s *server) {
		before := app.Requests.Load()
		for _, method := range []string{"POST", "PUT", "GET"} {
			// longer than what is sent before the answer is looked for
			req := s.Request(method, "/", strings.NewReader(strings.Repeat("x", 1<<20)))
			req.Close = true
			if res, err := s.Client.Do(req); err == nil { // the connection may be reset first
				res.Body.Close()
				if res.StatusCode != http.StatusBadGateway {
					t.Errorf("%s is answered with %d, want 502", method, res.StatusCode)
				}
			}
			if got := app.Requests.Load() - before; got != 0 {
				t.Errorf("the %s was repeated elsewhere", method)
			}
		}
		if whole.Load() != 0 {
			t.Error("a body was sent again")
		}
		s.Wants(http.StatusOK, "app") // without a body, the attempt is repeated
	})
}

func TestARetryTakesNoTurn(t *testing.T) {
	dead, a, b := freeAddr(t), plain(t, "a", ""), plain(t, "b", "")
	bothForms(t, "proxyos "+dead+" "+a.Addr+" "+b.Addr+" {\nfail_duration 0\nretry_budget off\n}", func(t *testing.T, s *server) {
		// each turn of the dead one is taken over by the upstream whose turn is next,
		// which has that turn all the same
		if counts := s.Tally(300); counts["a"]+counts["b"] != 300 || counts["a"] < 100 || counts["b"] < 100 {
			t.Errorf("300 requests: %v, want at least the 100 turns of each upstream that is up", counts)
		}
	})
	t.Run("of the split", func(t *testing.T) {
		staging := plain(t, "staging", "")
		s := run(t, "proxyos "+dead+" "+a.Addr+" {\nstaging "+staging.Addr+"\ntraffic_split 25\nfail_duration 0\nretry_budget off\n}")
		if counts := s.Tally(400); counts["staging"] != 100 || counts["a"] != 300 {
			t.Errorf("400 requests: %v, want 100 for staging", counts)
		}
	})
}

func TestUpstreamsAreTriedAllTheSameWhenAllAreMarkedDown(t *testing.T) {
	for _, policy := range []string{"", "lb_policy random", "lb_policy ip_hash"} {
		t.Run(policy, func(t *testing.T) {
			a, b := plain(t, "a", ""), plain(t, "b", "")
			bothForms(t, "proxyos "+a.Addr+" "+b.Addr+" {\nfail_duration 1h\n"+policy+"\n}", func(t *testing.T, s *server) {
				a.Stop()
				b.Stop()
				for range 3 {
					s.Wants(http.StatusBadGateway, "")
				}
				a.Start()
				s.Wants(http.StatusOK, "a")
				b.Start()
				eventually(t, "b is tried, too", func() bool { _, body := s.Get("/"); return body == "b" })
			})
		})
	}
}

func TestMaxRequestsIsRespectedAlsoWhenAllAreMarkedDown(t *testing.T) {
	for _, options := range []string{"", "fail_duration 1h"} {
		t.Run(options, func(t *testing.T) {
			a, b := plain(t, "a", ""), plain(t, "b", "")
			directives := "proxyos {\nupstream " + a.Addr + " {\nmax_requests 1\n}\nupstream " + b.Addr + " {\nmax_requests 1\n}\n" + options + "\n}"
			bothForms(t, directives, func(t *testing.T, s *server) {
				if options != "" {
					a.Stop()
					b.Stop()
					s.Wants(http.StatusBadGateway, "")
					s.Wants(http.StatusBadGateway, "")
					a.Start()
					b.Start()
				}
				release, arrived := make(chan struct{}), make(chan struct{})
				for _, backend := range []*backend{a, b} {
					backend.Answer(func(http.ResponseWriter, *http.Request) {
						arrived <- struct{}{}
						<-release
					})
				}
				done := make(chan int, 2)
				for range 2 {
					go func() { status, _ := s.Get("/"); done <- status }()
					<-arrived
				}
				s.Wants(http.StatusServiceUnavailable, "")
				close(release)
				for range 2 {
					if status := <-done; status != http.StatusOK {
						t.Errorf("a request that had room is answered with %d", status)
					}
				}
				a.Answer(nil)
				b.Answer(nil)
			})
		})
	}
}
