package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// pool starts upstreams of the given names and returns their addresses, in one string.
func pool(t testing.TB, names ...string) (backends []*backend, addresses string) {
	t.Helper()
	for _, name := range names {
		b := plain(t, name, "")
		backends = append(backends, b)
		addresses += " " + b.Addr
	}
	return backends, addresses
}

// names requests a path several times, and returns the bodies in the order they came.
func names(s *server, n int, newRequest func(i int) *http.Request) []string {
	s.T.Helper()
	var names []string
	for i := range n {
		names = append(names, s.Do(newRequest(i)).Body)
	}
	return names
}

// always tells whether all strings are the same.
func always(names []string) bool {
	return strings.Join(names, "") == strings.Repeat(names[0], len(names))
}

func TestUpstreamsTakeTurnsByDefault(t *testing.T) {
	_, addresses := pool(t, "a", "b", "c")
	bothForms(t, "proxyos"+addresses, func(t *testing.T, s *server) {
		got := names(s, 6, func(int) *http.Request { return s.Request("GET", "/", nil) })
		for _, name := range []string{"a", "b", "c"} {
			if strings.Count(strings.Join(got[:3], ""), name) != 1 || strings.Count(strings.Join(got[3:], ""), name) != 1 {
				t.Errorf("six requests went to %v, want each upstream once in each three", got)
			}
		}
	})
}

func TestEverySelectionPolicyOfCaddysChooses(t *testing.T) {
	_, addresses := pool(t, "a", "b", "c")
	get := func(fields ...string) func(*server, int) *http.Request {
		return func(s *server, _ int) *http.Request { return s.Request("GET", "/", nil, fields...) }
	}
	varied := func(path, field string) func(*server, int) *http.Request {
		return func(s *server, i int) *http.Request {
			req := s.Request("GET", strings.ReplaceAll(path, "%", fmt.Sprint(i)), nil)
			if field != "" {
				req.Header.Set(field, fmt.Sprint("value", i))
			}
			return req
		}
	}
	for _, test := range []struct {
		policy string
		sticks func(*server, int) *http.Request // requests that all go to one upstream; nil if none do
		spread func(*server, int) *http.Request // requests that reach every upstream; nil if none do
	}{
		{"random", nil, get()},
		{"random_choose 2", nil, get()},
		{"least_conn", nil, get()},
		{"round_robin", nil, get()},
		{"weighted_round_robin 3 2 1", nil, get()},
		{"first", get(), nil},
		{"ip_hash", get(), nil},
		{"client_ip_hash", get(), nil},
		{"uri_hash", get(), varied("/%", "")},
		{"query key", varied("/?key=1&other=%", ""), varied("/?key=%", "")},
		{"header X-Key", get("X-Key", "one"), varied("/", "X-Key")},
		{"cookie session secret", nil, get()},
	} {
		t.Run(test.policy, func(t *testing.T) {
			bothForms(t, "proxyos"+addresses+" {\nlb_policy "+test.policy+"\n}", func(t *testing.T, s *server) {
				if test.sticks != nil {
					got := names(s, 20, func(i int) *http.Request { return test.sticks(s, i) })
					if !always(got) {
						t.Errorf("requests that should go to one upstream went to %v", got)
					}
				}
				if test.spread == nil {
					return
				}
				counts := make(map[string]int)
				for _, name := range names(s, 60, func(i int) *http.Request { return test.spread(s, i) }) {
					counts[name]++
				}
				// of equals, random_choose prefers those that come first
				if len(counts) != 3 && (test.policy != "random_choose 2" || len(counts) < 2) {
					t.Errorf("60 requests went to %v, want some to each", counts)
				}
				if test.policy == "weighted_round_robin 3 2 1" && (counts["a"] != 30 || counts["b"] != 20 || counts["c"] != 10) {
					t.Errorf("60 requests went to %v, want 30, 20 and 10", counts)
				}
			})
		})
	}
}

func TestTheCookiePolicySticksByItsCookie(t *testing.T) {
	_, addresses := pool(t, "a", "b", "c")
	bothForms(t, "proxyos"+addresses+" {\nlb_policy cookie session secret\n}", func(t *testing.T, s *server) {
		first := s.Do(s.Request("GET", "/", nil))
		if len(first.Cookies()) != 1 || first.Cookies()[0].Name != "session" {
			t.Fatalf("cookies %v, want one of the name session", first.Cookies())
		}
		got := names(s, 20, func(int) *http.Request {
			req := s.Request("GET", "/", nil)
			req.AddCookie(first.Cookies()[0])
			return req
		})
		if got[0] != first.Body || !always(got) {
			t.Errorf("a client of %s went to %v", first.Body, got)
		}
	})
}

func TestAPolicyLeavesOutWhatIsDown(t *testing.T) {
	for _, policy := range []string{"random", "first", "ip_hash", "uri_hash", "least_conn", "round_robin", "cookie", "header X-Key"} {
		t.Run(policy, func(t *testing.T) {
			backends, addresses := pool(t, "a", "b", "c")
			s := run(t, "proxyos"+addresses+" {\nlb_policy "+policy+"\n}")
			backends[0].Stop()
			backends[2].Stop()
			if counts := s.Tally(20); counts["b"] != 20 {
				t.Errorf("20 requests: %v, want all answered by b", counts)
			}
		})
	}
}

func TestEachGroupHasAPolicyOfItsOwn(t *testing.T) {
	_, production := pool(t, "a", "b")
	_, staging := pool(t, "x", "y")
	bothForms(t, "proxyos"+production+" {\nlb_policy first\nstaging"+staging+" {\nlb_policy round_robin\n}\ntraffic_split 50\n}",
		func(t *testing.T, s *server) {
			if counts := s.Tally(40); counts["a"] != 20 || counts["x"] != 10 || counts["y"] != 10 {
				t.Errorf("40 requests: %v, want 20 to a, 10 to x and 10 to y", counts)
			}
		})
}

func TestRetriesStopAsConfigured(t *testing.T) {
	dead := newCutter(t)
	for _, test := range []struct {
		options  string
		from, to int64 // attempts for one GET
	}{
		{"lb_retries 0", 1, 1},
		{"lb_retries 5", 6, 6},
		{"lb_try_duration 0", 1, 1},
		{"lb_try_duration 200ms\nlb_try_interval 20ms", 4, 11},
		{"lb_try_duration 1m\nlb_retries 1\nlb_try_interval 1ms", 2, 2},
		{"lb_retries 2\nlb_retry_match method PUT", 1, 1},
		{"lb_retries 2\nlb_retry_match {\nmethod GET\npath /elsewhere\n}", 1, 1},
		{"lb_retries 2\nlb_retry_match method GET", 3, 3},
	} {
		t.Run(test.options, func(t *testing.T) {
			bothForms(t, "proxyos "+dead.Addr+" {\n"+test.options+"\n}", func(t *testing.T, s *server) {
				before := dead.Count()
				s.Wants(http.StatusBadGateway, "")
				if got := dead.Count() - before; got < test.from || got > test.to {
					t.Errorf("%d attempts, want %d to %d", got, test.from, test.to)
				}
			})
		})
	}
}

func TestRetriesAreByDefaultTwoWhereThereAreSeveralUpstreams(t *testing.T) {
	for upstreams, attempts := range map[int]int64{1: 1, 2: 3, 4: 3} {
		t.Run(fmt.Sprint(upstreams), func(t *testing.T) {
			directives, tries := "proxyos", func() (sum int64) { return 0 }
			for range upstreams {
				dead, others := newCutter(t), tries
				directives += " " + dead.Addr
				tries = func() int64 { return others() + dead.Count() }
			}
			run(t, directives+" {\nfail_duration 0\n}").Wants(http.StatusBadGateway, "")
			if got := tries(); got != attempts {
				t.Errorf("%d attempts, want %d", got, attempts)
			}
		})
	}
}

func TestAResponseMayBeRetriedElsewhere(t *testing.T) {
	backends, addresses := pool(t, "bad", "good")
	backends[0].Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	bothForms(t, "proxyos"+addresses+" {\nlb_policy first\nlb_retries 1\nlb_retry_match expression `{rp.status_code} == 502`\n}",
		func(t *testing.T, s *server) {
			for range 3 {
				s.Wants(http.StatusOK, "good")
			}
		})
}

func TestTheSharesOfTheOthersStayExactWhenOneIsDown(t *testing.T) {
	backends, _ := pool(t, "five", "three", "two")
	directives := "proxyos {\nupstream " + backends[0].Addr + " {\nweight 5\n}\nupstream " + backends[1].Addr +
		" {\nweight 3\n}\nupstream " + backends[2].Addr + " {\nweight 2\n}\nfail_duration 1h\n}"
	bothForms(t, directives, func(t *testing.T, s *server) {
		if counts := s.Tally(100); counts["five"] != 50 || counts["three"] != 30 || counts["two"] != 20 {
			t.Errorf("100 requests: %v, want 50, 30 and 20", counts)
		}
		backends[0].Stop()
		s.Tally(10) // finds out
		if counts := s.Tally(100); counts["three"] != 60 || counts["two"] != 40 {
			t.Errorf("100 requests without the first: %v, want 60 and 40", counts)
		}
		backends[0].Start()
	})
}

func TestAThousandUpstreamsGetExactlyTheirWeights(t *testing.T) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(http.LocalAddrContextKey))
	})}
	t.Cleanup(func() { server.Close() })
	random := rand.New(rand.NewPCG(1, 2))
	weights, total := make(map[string]int), 0
	directives := "proxyos {\n"
	for range 1000 {
		listener := proxytest.Listen(t, "")
		go server.Serve(listener)
		address, weight := listener.Addr().String(), random.IntN(5)
		weights[address] = weight
		total += weight
		directives += fmt.Sprintf("upstream http://%s {\nweight %d\n}\n", address, weight)
	}
	s := lab.RunQuietly(t, directives+"transport http {\nkeepalive off\n}\n}")
	for cycle := range 2 {
		counts := s.Tally(total)
		for address, weight := range weights {
			if counts[address] != weight {
				t.Errorf("cycle %d: an upstream of weight %d has had %d of %d requests", cycle, weight, counts[address], total)
			}
		}
	}
}
