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

// load has clients send requests, each one after the other, and returns how long they took, the
// shortest first. A status of 500 or above is no error.
func load(t testing.TB, c *proxytest.Caddy, clients, requests int) []time.Duration {
	t.Helper()
	var all sync.WaitGroup
	var sent atomic.Int64
	took := make([]time.Duration, requests)
	for range clients {
		all.Go(func() {
			for i := sent.Add(1); i <= int64(requests); i = sent.Add(1) {
				began := time.Now()
				res, err := c.Client.Get(c.URL)
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

// tail returns the 99th percentile of requests to four upstreams of which one is ten times slower.
func tail(t testing.TB, block, policy string, fast time.Duration, clients, requests int) time.Duration {
	t.Helper()
	var upstreams []*paced
	for _, takes := range []time.Duration{fast, fast, fast, 10 * fast} {
		upstreams = append(upstreams, newPaced(t, takes))
	}
	c := proxytest.NewCaddy(t)
	loadQuietly(c, fmt.Sprintf(block, addressesOf(upstreams), policy))
	return p99(load(t, c, clients, requests))
}

func TestLeastLatencyShortensTheTail(t *testing.T) {
	p99s := make(map[string]time.Duration)
	measure := func(name, block, policy string, requests int) {
		t.Run(name, func(t *testing.T) { p99s[name] = tail(t, block, policy, 40*time.Millisecond, 8, requests) })
	}
	measure("turns", leastLatencyWays[0].block, "", 250) // which takes as long as the others
	measure("least_conn", leastLatencyWays[0].block, "lb_policy least_conn", 600)
	for _, way := range leastLatencyWays {
		name := "least_latency in " + way.name
		measure(name, way.block, "lb_policy least_latency", 800)
		if p99s[name] > p99s["turns"]/2 || p99s[name] > p99s["least_conn"]/2 {
			t.Errorf("p99 are %v, want that of %s to be at most half of that of turns, and of least_conn", p99s, name)
		}
	}
	t.Log("p99:", p99s)
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
				p99 := tail(b, one.block, one.policy, load.fast, load.clients, b.N)
				b.ReportMetric(float64(p99)/float64(time.Millisecond), "p99-ms")
			})
		}
	}
}

func TestFailingFastAttractsNoTraffic(t *testing.T) {
	for _, way := range leastLatencyWays {
		t.Run(way.name, func(t *testing.T) {
			upstreams := []*paced{newPaced(t, 10*time.Millisecond), newPaced(t, 0), newPaced(t, 10*time.Millisecond), newPaced(t, 10*time.Millisecond)}
			upstreams[1].status.Store(http.StatusServiceUnavailable)
			c := proxytest.NewCaddy(t)
			loadQuietly(c, fmt.Sprintf(way.block, addressesOf(upstreams), "lb_policy least_latency"))
			load(t, c, 16, 1500)
			if n := upstreams[1].Requests.Load(); n == 0 || n > 75 {
				t.Errorf("the one that answers with 503 at once had %d of 1500 requests, want some, and at most 5 %%", n)
			}
		})
	}
}

func TestARecoveredUpstreamGetsItsShareBack(t *testing.T) {
	for _, way := range leastLatencyWays {
		t.Run(way.name, func(t *testing.T) {
			upstreams := []*paced{newPaced(t, 5*time.Millisecond), newPaced(t, 5*time.Millisecond), newPaced(t, 5*time.Millisecond), newPaced(t, 150*time.Millisecond)}
			c := proxytest.NewCaddy(t)
			loadQuietly(c, fmt.Sprintf(way.block, addressesOf(upstreams), "lb_policy least_latency {\ndecay 200ms\n}"))
			load(t, c, 8, 400)
			if n := upstreams[3].Requests.Load(); n > 40 {
				t.Errorf("while it was slow, it had %d of 400 requests, want at most 10 %%", n)
			}
			upstreams[3].takes.Store(int64(5 * time.Millisecond))
			proxytest.Eventually(t, "it has a sixth of the requests", func() bool {
				before := upstreams[3].Requests.Load()
				load(t, c, 8, 300)
				return upstreams[3].Requests.Load()-before > 50
			})
		})
	}
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
	for _, way := range leastLatencyWays {
		t.Run(way.name, func(t *testing.T) {
			upstreams := []*paced{newPaced(t, 0), newPaced(t, 500*time.Millisecond)}
			c := proxytest.NewCaddy(t)
			loadQuietly(c, fmt.Sprintf(way.block, addressesOf(upstreams), "lb_policy least_latency {\ndecay 1h\n}"))
			load(t, c, 1, 4) // each is tried
			before := upstreams[0].Requests.Load()
			res, err := c.Client.Post(c.URL, "text/plain", &slowly{30})
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			load(t, c, 1, 10)
			if n := upstreams[0].Requests.Load() - before; n != 11 {
				t.Errorf("the fast one had %d of 11 requests, one of them with a slow body", n)
			}
		})
	}
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
			load(t, c, 1, 50)
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
	load(t, c, 1, 100)
	if n := slow.Requests.Load(); n > 4 || fast.Requests.Load() < 45 || staged.Requests.Load() < 45 {
		t.Errorf("of 100 requests, the slow one of both groups had %d, the fast ones %d and %d", n, fast.Requests.Load(), staged.Requests.Load())
	}
}

func TestLeastLatencyIsListed(t *testing.T) {
	if !slices.Contains(caddy.Modules(), "http.reverse_proxy.selection_policies.least_latency") {
		t.Error("`caddy list-modules` does not show it")
	}
}
