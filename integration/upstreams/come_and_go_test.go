package upstreams

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// A backup serves only while no other upstream of its group is available, before production does
// for staging, and whatever the policy is.
func TestBackupsServeWhileNobodyElseDoes(t *testing.T) {
	for _, policy := range []string{"", "random", "weighted_round_robin 1 1"} {
		for _, form := range []string{"Caddyfile", "JSON"}[:lab.Sized(1, 2, 2)] {
			t.Run(policy+" "+form, func(t *testing.T) {
				first, second, spare := plain(t, "first", ""), plain(t, "second", ""), plain(t, "spare", "")
				green, greenSpare := plain(t, "green", ""), plain(t, "green spare", "")
				written := ""
				if policy != "" {
					written = "lb_policy " + policy
				}
				s := newServer(t)
				config := quiet + s.Site(fmt.Sprintf(`proxyos %s %s {
					name app
					upstream %s {
						backup
					}
					staging %s {
						upstream %s {
							backup
						}
					}
					traffic_split 50
					fail_duration 300ms
					%s
				}`, first.Addr, second.Addr, spare.Addr, green.Addr, greenSpare.Addr, written))
				if form == "JSON" {
					config = adapt(t, config)
					if err := s.LoadJSON(config); err != nil {
						t.Fatal(err)
					}
				} else {
					s.MustLoad(config)
				}
				if got := s.Tally(40); got["green"] != 20 || got["first"]+got["second"] != 20 {
					t.Errorf("with all up, served have %v", got)
				}
				green.Stop()
				if got := s.Tally(40); got["green spare"] != 20 || got["first"]+got["second"] != 20 {
					t.Errorf("with staging's first down, served have %v", got)
				}
				first.Stop()
				s.Steer(second, `{"state": "drain"}`)
				if got := s.Tally(40); got["green spare"] != 20 || got["spare"] != 20 {
					t.Errorf("with only backups left, served have %v", got)
				}
				greenSpare.Stop()
				if got := s.Tally(40); got["spare"] != 40 {
					t.Errorf("with staging down, served have %v", got)
				}
				green.Start()
				s.Steer(second, `{"state": "ready"}`)
				eventually(t, "the others are back", func() bool {
					got := s.Tally(8)
					return got["green"] == 4 && got["second"] == 4
				})
				if r := s.Route(); r.Fallbacks == 0 {
					t.Error("no fallback is counted")
				}
			})
		}
	}
}

// An upstream that comes back gets its turns by and by; the group's share never changes.
func TestSlowStart(t *testing.T) {
	const percent = 40
	slowStart := time.Duration(lab.Sized(3, 30, 20)) * time.Second // where each request takes long, it is a part of it
	s := newServer(t)
	var all []*backend
	for _, name := range []string{"p1", "p2", "p3", "p4", "s1"} {
		all = append(all, plain(t, name, ""))
	}
	s.MustLoad(quiet + s.Site(fmt.Sprintf("proxyos %s %s %s %s {\nname app\nstaging %s\ntraffic_split %d\nslow_start %s\n}",
		all[0].Addr, all[1].Addr, all[2].Addr, all[3].Addr, all[4].Addr, percent, slowStart)))
	s.Steer(all[0], `{"state": "drain"}`)
	s.Tally(10)
	s.Steer(all[0], `{"state": "ready"}`)
	began := time.Now()
	for _, at := range []float64{0.1, 0.5, 1} {
		time.Sleep(time.Until(began.Add(time.Duration(at * float64(slowStart)))))
		from := time.Since(began).Seconds() / slowStart.Seconds()
		const n = 2000 // in much less time than the share takes to change
		got := s.Tally(n)
		to := time.Since(began).Seconds() / slowStart.Seconds()
		want := min(1, max(0.1, (from+to)/2))
		if warm := float64(got["p1"]) / (n * (100 - percent) / 100 / 4); math.Abs(warm-want) > 0.02+(to-from)/2 {
			t.Errorf("from %.3f to %.3f of the time it has %.3f of its turns, want %.3f", from, to, warm, want)
		}
		if got["s1"] != n*percent/100 {
			t.Errorf("staging had %d of %d requests", got["s1"], n)
		}
	}
}

// One of four upstreams fails half of its requests: it is out, and clients see no more errors.
// Where all fail alike, none is out.
func TestAnUpstreamThatFailsTooOftenIsEjected(t *testing.T) {
	for _, bad := range []int{1, 4} {
		t.Run(fmt.Sprint(bad, " of 4"), func(t *testing.T) {
			s := newServer(t)
			var addresses []string
			for i := range 4 {
				b := plain(t, fmt.Sprint("p", i), "")
				if i < bad {
					var turn atomic.Int64
					b.Answer(func(w http.ResponseWriter, r *http.Request) {
						if turn.Add(1)%2 == 0 {
							w.WriteHeader(http.StatusServiceUnavailable)
						}
					})
				}
				addresses = append(addresses, b.Addr)
			}
			s.MustLoad(quiet + s.Site(fmt.Sprintf("proxyos %s {\nname app\neject 5xx 40%%\n}", strings.Join(addresses, " "))))
			began := time.Now()
			var sent, failed atomic.Int64
			errorRate := func(seconds int) float64 {
				n, f := sent.Load(), failed.Load()
				time.Sleep(time.Duration(seconds) * time.Second)
				return float64(failed.Load()-f) / float64(max(sent.Load()-n, 1))
			}
			stop := make(chan struct{})
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(4 * time.Millisecond):
						}
						res, err := s.Client.Get(s.URL)
						sent.Add(1)
						if err != nil {
							failed.Add(1)
							continue
						}
						io.Copy(io.Discard, res.Body)
						res.Body.Close()
						if res.StatusCode != http.StatusOK {
							failed.Add(1)
						}
					}
				})
			}
			defer clients.Wait()
			defer close(stop)
			health := func() string { return s.Route().Groups[production].Upstreams[0].Health }
			if bad == 1 {
				eventually(t, "it is ejected", func() bool { return health() == "ejected" })
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it is ejected after %s", took)
				}
				if rate := errorRate(1); rate > 0.005 {
					t.Errorf("after that %.2f %% of the requests fail", 100*rate)
				}
				if len(s.Logs.Entries("upstream ejected: it fails much more often than the others of its group")) != 1 {
					t.Error("the log does not say so once")
				}
				return
			}
			if rate := errorRate(lab.Sized(1, 3, 3)); rate < 0.4 || health() != "up" {
				t.Errorf("%.2f %% of the requests fail, and the first is %s", 100*rate, health())
			}
		})
	}
}

// All upstreams reset each connection: the retries stay within the budget.
func TestARetryStormIsPrevented(t *testing.T) {
	for name, test := range map[string]struct {
		budget string
		most   float64 // attempts, for each request
	}{"default": {"", 1.2}, "off": {"retry_budget off", 3}, "none": {"retry_budget 0% min 0", 1}, "retries that are written": {"lb_retries 2", 3}} {
		t.Run(name, func(t *testing.T) {
			var attempts atomic.Int64
			s := newServer(t)
			var addresses []string
			for i := range 3 {
				b := plain(t, fmt.Sprint("p", i), "")
				b.Answer(func(w http.ResponseWriter, r *http.Request) {
					attempts.Add(1)
					panic(http.ErrAbortHandler)
				})
				addresses = append(addresses, b.Addr)
			}
			s.MustLoad(quiet + s.Site(fmt.Sprintf("proxyos %s {\nname app\n%s\n}", strings.Join(addresses, " "), test.budget)))
			const rate = 500
			began := time.Now()
			var clients sync.WaitGroup
			requests := lab.Sized(rate/2, 3*rate, rate)
			for i := range requests {
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / rate)))
				clients.Go(func() {
					res, err := s.Client.Get(s.URL)
					if err != nil {
						t.Error(err)
						return
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if res.StatusCode != http.StatusBadGateway {
						t.Errorf("answered is %s", res.Status)
					}
				})
			}
			clients.Wait()
			minimum := 100.0 // ten a second, for ten seconds
			if name != "default" {
				minimum = 0
			}
			n := float64(attempts.Load())
			if n > test.most*float64(requests)+minimum+1 || test.most == 3 && n < 2.5*float64(requests) {
				t.Errorf("%v attempts for %d requests", n, requests)
			}
			status, answer := s.Ask(http.MethodGet, "/proxyos/routes/app", "")
			if over := lab.Decode[map[string]any](t, answer)["retries_over_budget"].(float64); status != 200 || (over > 0) != (test.most < 3) {
				t.Errorf("%v requests were not sent again", over)
			}
		})
	}
}
