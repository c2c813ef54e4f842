package upstreams

import (
	"fmt"
	"io"
	"net/http"
	"net/http/fcgi"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// leastLatencyWays are the handlers that have the policy, each on every way that it has to
// upstreams. %s are the upstreams, and the lines of the block.
var leastLatencyWays = []struct{ name, block string }{
	{"proxyos", "proxyos%s {\n%s\n}"},
	{"proxyos, fast_path off", "proxyos%s {\nfast_path off\n%s\n}"},
	{"reverse_proxy", "reverse_proxy%s {\n%s\n}"},
}

// paced is an upstream that answers after a time, with a status.
type paced struct {
	*proxytest.Backend
	takes  atomic.Int64 // in nanoseconds
	status atomic.Int64
}

func newPaced(t testing.TB, takes time.Duration) *paced {
	p := &paced{Backend: proxytest.Plain(t, "paced", "")}
	p.takes.Store(int64(takes))
	p.status.Store(http.StatusOK)
	p.Answer(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(time.Duration(p.takes.Load()))
		w.WriteHeader(int(p.status.Load()))
	})
	return p
}

func addressesOf(upstreams []*paced) string {
	var all strings.Builder
	for _, p := range upstreams {
		all.WriteString(" " + p.Addr)
	}
	return all.String()
}

// loadQuietly loads a handler without debug logs.
func loadQuietly(c *proxytest.Caddy, handler string) {
	c.MustLoad("{\nlog {\nlevel ERROR\n}\n}\n" + c.Site(handler))
}

// eachWay is a test of each way, with upstreams of its own: beside each other in one Caddy, but for the
// race detector.
type eachWay struct {
	lines     string // of the block
	upstreams func(*testing.T) []*paced
	test      func(t *testing.T, client *http.Client, url string, upstreams []*paced)
}

func (e eachWay) run(t *testing.T) {
	t.Helper()
	c := proxytest.NewCaddy(t)
	var site strings.Builder
	tests := make(map[string]func(*testing.T))
	for i, way := range leastLatencyWays {
		upstreams := e.upstreams(t)
		fmt.Fprintf(&site, "handle /%d {\n"+way.block+"\n}\n", i, addressesOf(upstreams), e.lines)
		tests[way.name] = func(t *testing.T) { e.test(t, c.Client, fmt.Sprint(c.URL, "/", i), upstreams) }
	}
	loadQuietly(c, site.String())
	if lab.Sized(1, 1, 0) == 1 {
		proxytest.Together(t, tests)
		return
	}
	for name, test := range tests {
		t.Run(name, test)
	}
}

// load has clients send requests, each one after the other, and returns how long they took, the
// shortest first. A status of 500 or above is no error.
func load(t testing.TB, client *http.Client, url string, clients, requests int) []time.Duration {
	t.Helper()
	var all sync.WaitGroup
	var sent atomic.Int64
	took := make([]time.Duration, requests)
	for range clients {
		all.Go(func() {
			for i := sent.Add(1); i <= int64(requests); i = sent.Add(1) {
				began := time.Now()
				res, err := client.Get(url)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				took[i-1] = time.Since(began)
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	return took
}

func p99(took []time.Duration) time.Duration { return took[len(took)*99/100] }

// tailCase is requests to four upstreams of which one is ten times slower.
type tailCase struct {
	block, policy string
	requests      int
}

// tails returns the 99th percentile of the requests of each case. All are sent at the same time, but for the
// race detector, which takes its time for each.
func tails(t testing.TB, fast time.Duration, clients int, cases ...tailCase) []time.Duration {
	t.Helper()
	c := proxytest.NewCaddy(t)
	var site strings.Builder
	for i, one := range cases {
		var upstreams []*paced
		for _, takes := range []time.Duration{fast, fast, fast, 10 * fast} {
			upstreams = append(upstreams, newPaced(t, takes))
		}
		fmt.Fprintf(&site, "handle /%d {\n"+one.block+"\n}\n", i, addressesOf(upstreams), one.policy)
	}
	loadQuietly(c, site.String())
	p99s := make([]time.Duration, len(cases))
	turns := make(chan bool, lab.Sized(len(cases), len(cases), 1))
	var all sync.WaitGroup
	for i, one := range cases {
		all.Go(func() {
			turns <- true
			defer func() { <-turns }()
			p99s[i] = p99(load(t, c.Client, fmt.Sprint(c.URL, "/", i), clients, one.requests))
		})
	}
	all.Wait()
	return p99s
}

func TestLeastLatencyShortensTheTail(t *testing.T) {
	cases := []tailCase{
		{leastLatencyWays[0].block, "", 250}, // which takes as long as the others
		{leastLatencyWays[0].block, "lb_policy least_conn", 600},
	}
	for _, way := range leastLatencyWays {
		cases = append(cases, tailCase{way.block, "lb_policy least_latency", 800})
	}
	const fast = 80 * time.Millisecond // well above what a busy machine delays an answer by
	p99s := tails(t, fast, 8, cases...)
	for i, way := range leastLatencyWays {
		if got := p99s[2+i]; got > p99s[0]/2 || got > p99s[1]/2 {
			t.Errorf("with least_latency in %s, p99 is %v, want at most half of that of turns, %v, and of least_conn, %v", way.name, got, p99s[0], p99s[1])
		}
	}
	t.Log("p99 of turns, least_conn and least_latency:", p99s)
}

// The figures of docs/performance.md: the 99th percentile beside that of turns.
func BenchmarkTail(b *testing.B) {
	for _, load := range []struct {
		clients int
		fast    time.Duration
	}{{8, 5 * time.Millisecond}, {32, 20 * time.Millisecond}} {
		for _, one := range []struct{ name, block, policy string }{
			{"turns", leastLatencyWays[0].block, ""},
			{"least_conn", leastLatencyWays[0].block, "lb_policy least_conn"},
			{"least_latency", leastLatencyWays[0].block, "lb_policy least_latency"},
			{"least_latency in reverse_proxy", leastLatencyWays[2].block, "lb_policy least_latency"},
		} {
			b.Run(fmt.Sprintf("clients=%d/%v and %v/%s", load.clients, load.fast, 10*load.fast, one.name), func(b *testing.B) {
				p99s := tails(b, load.fast, load.clients, tailCase{one.block, one.policy, b.N})
				b.ReportMetric(float64(p99s[0])/float64(time.Millisecond), "p99-ms")
			})
		}
	}
}

func TestFailingFastAttractsNoTraffic(t *testing.T) {
	eachWay{
		lines: "lb_policy least_latency",
		upstreams: func(t *testing.T) []*paced {
			upstreams := []*paced{newPaced(t, 10*time.Millisecond), newPaced(t, 0), newPaced(t, 10*time.Millisecond), newPaced(t, 10*time.Millisecond)}
			upstreams[1].status.Store(http.StatusServiceUnavailable)
			return upstreams
		},
		test: func(t *testing.T, client *http.Client, url string, upstreams []*paced) {
			load(t, client, url, 16, 1500)
			if n := upstreams[1].Requests.Load(); n == 0 || n > 75 {
				t.Errorf("the one that answers with 503 at once had %d of 1500 requests, want some, and at most 5 %%", n)
			}
		},
	}.run(t)
}

func TestARecoveredUpstreamGetsItsShareBack(t *testing.T) {
	eachWay{
		lines: "lb_policy least_latency {\ndecay 200ms\n}",
		upstreams: func(t *testing.T) []*paced {
			return []*paced{newPaced(t, 5*time.Millisecond), newPaced(t, 5*time.Millisecond), newPaced(t, 5*time.Millisecond), newPaced(t, 150*time.Millisecond)}
		},
		test: func(t *testing.T, client *http.Client, url string, upstreams []*paced) {
			load(t, client, url, 8, 400)
			if n := upstreams[3].Requests.Load(); n > 40 {
				t.Errorf("while it was slow, it had %d of 400 requests, want at most 10 %%", n)
			}
			upstreams[3].takes.Store(int64(5 * time.Millisecond))
			proxytest.Eventually(t, "it has a sixth of the requests", func() bool {
				before := upstreams[3].Requests.Load()
				load(t, client, url, 8, 300)
				return upstreams[3].Requests.Load()-before > 50
			})
		},
	}.run(t)
}

func TestLeastLatencyLeavesOutWhatIsDown(t *testing.T) {
	for _, way := range leastLatencyWays {
		t.Run(way.name, func(t *testing.T) {
			upstreams := []*paced{newPaced(t, 0), newPaced(t, 0), newPaced(t, 0)}
			c := proxytest.NewCaddy(t)
			lines := "lb_policy least_latency\nlb_retries 2\nfail_duration 10s"
			loadQuietly(c, fmt.Sprintf(way.block, addressesOf(upstreams), lines))
			upstreams[0].Stop()
			upstreams[2].Stop()
			for range 50 {
				if status, body := c.Get("/"); status != http.StatusOK {
					t.Errorf("got %d %q", status, body)
				}
			}
			if n := upstreams[1].Requests.Load(); n != 50 {
				t.Errorf("the one that is up had %d of 50 requests", n)
			}
		})
	}
}

// slowly is a body that comes slowly.
type slowly struct{ parts int }

func (s *slowly) Read(p []byte) (int, error) {
	if s.parts == 0 {
		return 0, io.EOF
	}
	s.parts--
	time.Sleep(50 * time.Millisecond)
	return copy(p, "part"), nil
}

func TestAClientsSlowBodyDoesNotMakeAnUpstreamSlow(t *testing.T) {
	eachWay{
		lines: "lb_policy least_latency {\ndecay 1h\n}",
		upstreams: func(t *testing.T) []*paced {
			return []*paced{newPaced(t, 0), newPaced(t, 500*time.Millisecond)}
		},
		test: func(t *testing.T, client *http.Client, url string, upstreams []*paced) {
			load(t, client, url, 1, 4) // each is tried
			before := upstreams[0].Requests.Load()
			res, err := client.Post(url, "text/plain", &slowly{lab.Sized(20, 30, 30)})
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			load(t, client, url, 1, 10)
			if n := upstreams[0].Requests.Load() - before; n != 11 {
				t.Errorf("the fast one had %d of 11 requests, one of them with a slow body", n)
			}
		},
	}.run(t)
}

func TestLeastLatencyOverAnotherTransport(t *testing.T) {
	for _, way := range leastLatencyWays {
		t.Run(way.name, func(t *testing.T) {
			var addresses strings.Builder
			var served [2]atomic.Int64
			for i, takes := range []time.Duration{time.Millisecond, 300 * time.Millisecond} {
				listener := proxytest.Listen(t, "")
				go func() {
					_ = fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						served[i].Add(1)
						time.Sleep(takes)
						w.WriteHeader(http.StatusNoContent)
					}))
				}()
				addresses.WriteString(" " + listener.Addr().String())
			}
			c := proxytest.NewCaddy(t)
			loadQuietly(c, fmt.Sprintf(way.block, addresses.String(), "lb_policy least_latency {\ndecay 1h\n}\ntransport fastcgi"))
			load(t, c.Client, c.URL, 1, 50)
			if slow, fast := served[1].Load(), served[0].Load(); slow < 1 || slow > 3 || fast < 40 {
				t.Errorf("the slow one had %d of 50 requests and the fast one %d, want one for the slow one", slow, fast)
			}
		})
	}
}

func TestEachGroupHasItsOwnLeastLatency(t *testing.T) {
	slow, fast, staged := newPaced(t, 300*time.Millisecond), newPaced(t, 0), newPaced(t, 0)
	c := proxytest.NewCaddy(t)
	const policy = "lb_policy least_latency {\ndecay 1h\n}\n"
	loadQuietly(c, "proxyos "+slow.Addr+" "+fast.Addr+" {\n"+policy+"staging "+slow.Addr+" "+staged.Addr+" {\n"+policy+"}\ntraffic_split 50\n}")
	load(t, c.Client, c.URL, 1, 100)
	if n := slow.Requests.Load(); n > 4 || fast.Requests.Load() < 45 || staged.Requests.Load() < 45 {
		t.Errorf("of 100 requests, the slow one of both groups had %d, the fast ones %d and %d", n, fast.Requests.Load(), staged.Requests.Load())
	}
}

func TestLeastLatencyIsListed(t *testing.T) {
	if !slices.Contains(caddy.Modules(), "http.reverse_proxy.selection_policies.least_latency") {
		t.Error("`caddy list-modules` does not show it")
	}
}
