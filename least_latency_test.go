package proxyos

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// latencyFarm is upstreams that answer after a time, and the policy that chooses among them.
type latencyFarm struct {
	policy *LeastLatency
	pool   reverseproxy.UpstreamPool
	farmed map[*reverseproxy.Upstream]*farmed
}

type farmed struct {
	took   atomic.Int64 // in nanoseconds
	fails  atomic.Bool  // with 503, after a tenth of a millisecond
	served atomic.Int64
	most   atomic.Int64 // that it had in flight at once
}

func newLatencyFarm(decay time.Duration, times ...time.Duration) *latencyFarm {
	f := &latencyFarm{policy: new(LeastLatency), farmed: make(map[*reverseproxy.Upstream]*farmed)}
	f.policy.times.start(decay)
	for _, took := range times {
		f.add(took)
	}
	return f
}

func (f *latencyFarm) add(took time.Duration) *farmed {
	u := &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: fmt.Sprintf("farm-%d:1", len(f.pool))}
	one := new(farmed)
	one.took.Store(int64(took))
	f.farmed[u] = one
	f.pool = append(f.pool, u)
	return one
}

// of returns what is known of an upstream by its place.
func (f *latencyFarm) of(i int) *farmed { return f.farmed[f.pool[i]] }

// run has clients send requests, one after the other, for a time. It is for a synctest bubble.
func (f *latencyFarm) run(clients int, period time.Duration) {
	for _, one := range f.farmed {
		one.served.Store(0)
		one.most.Store(0)
	}
	var all sync.WaitGroup
	end := time.Now().Add(period)
	for i := range clients {
		all.Go(func() {
			time.Sleep(time.Duration(i) * 7 * time.Microsecond)
			for time.Now().Before(end) {
				f.request()
			}
		})
	}
	all.Wait()
}

func (f *latencyFarm) request() {
	u := f.policy.Select(f.pool, nil, nil)
	one, inFlight := f.farmed[u], requestsOf(u.Host)
	inFlight.add(1)
	defer inFlight.add(-1)
	one.most.Store(max(one.most.Load(), int64(u.NumRequests())))
	one.served.Add(1)
	began := time.Now()
	if one.fails.Load() {
		time.Sleep(100 * time.Microsecond)
		f.policy.times.answered(u, http.StatusServiceUnavailable, time.Since(began))
		return
	}
	time.Sleep(time.Duration(one.took.Load()))
	f.policy.times.answered(u, http.StatusOK, time.Since(began))
}

// share returns the share of the requests that an upstream has served.
func (f *latencyFarm) share(i int) float64 {
	var all int64
	for _, one := range f.farmed {
		all += one.served.Load()
	}
	return float64(f.of(i).served.Load()) / float64(all)
}

const (
	fastAnswer = 50 * time.Millisecond
	slowAnswer = 500 * time.Millisecond
)

func TestASlowUpstreamIsAvoidedAndTriedAgain(t *testing.T) {
	for _, clients := range []int{1, 16, 64} {
		synctest.Test(t, func(t *testing.T) {
			f := newLatencyFarm(10*time.Second, fastAnswer, fastAnswer, fastAnswer, slowAnswer)
			f.run(clients, 2*time.Minute)
			if share := f.share(3); share > 0.01 || f.of(3).served.Load() < 3 {
				t.Errorf("%d clients: the slow one had %d requests, %.2f %%; want several, and at most 1 %%", clients, f.of(3).served.Load(), 100*share)
			}
			f.of(3).took.Store(int64(fastAnswer)) // it recovers
			f.run(clients, 40*time.Second)        // 4 decay times
			f.run(clients, 30*time.Second)
			if share := f.share(3); share < 0.2 {
				t.Errorf("%d clients: once it had recovered, it had %.1f %% of the requests, want about 25 %%", clients, 100*share)
			}
		})
	}
}

func TestFailingFastAttractsNothing(t *testing.T) {
	for _, clients := range []int{1, 16, 200} {
		synctest.Test(t, func(t *testing.T) {
			f := newLatencyFarm(10*time.Second, fastAnswer, fastAnswer, fastAnswer, fastAnswer)
			f.of(2).fails.Store(true)
			f.run(clients, time.Minute)
			if share := f.share(2); share > 0.02 {
				t.Errorf("%d clients: the failing one had %.2f %% of the requests, want at most 2 %%", clients, 100*share)
			}
			f.of(2).fails.Store(false)
			f.run(clients, 40*time.Second)
			f.run(clients, 30*time.Second)
			if share := f.share(2); share < 0.2 {
				t.Errorf("%d clients: once it had recovered, it had %.1f %% of the requests, want about 25 %%", clients, 100*share)
			}
		})
	}
}

func TestOneFailureDoesNotKeepRequestsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newLatencyFarm(10*time.Second, fastAnswer, fastAnswer, fastAnswer, fastAnswer)
		f.run(64, time.Second)
		f.policy.times.failed(f.pool[0], time.Millisecond)
		f.run(64, 5*time.Second)
		if share := f.share(0); share < 0.05 {
			t.Errorf("after one failure it had %.1f %% of the requests, want at least 5 %%", 100*share)
		}
	})
}

func TestANewUpstreamIsTriedEarlyButNotByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newLatencyFarm(10*time.Second, fastAnswer, fastAnswer, fastAnswer)
		f.run(30, time.Second)
		f.add(time.Hour) // it hangs
		f.run(30, time.Second)
		if one := f.of(3); one.served.Load() == 0 || one.most.Load() > 11 {
			t.Errorf("it had %d requests, %d at once; want some, and no more at once than others had of 30 clients'", one.served.Load(), one.most.Load())
		}
	})
}

func TestAClientThatGivesUpTellsThatAnUpstreamIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newLatencyFarm(10*time.Second, fastAnswer, fastAnswer)
		f.run(2, time.Second)
		f.policy.times.givenUp(f.pool[0], time.Second)
		f.run(1, time.Second)
		if n := f.of(0).served.Load(); n != 0 {
			t.Errorf("the one that was given up had %d requests", n)
		}
	})
}

// unavailable makes upstreams full, as max_requests does.
func unavailable(pool reverseproxy.UpstreamPool, isDown func(int) bool) {
	for i, u := range pool {
		if isDown(i) {
			u.MaxRequests = 1
			requestsOf(u.Host).add(1)
		}
	}
}

func TestOnlyAvailableUpstreamsAreChosen(t *testing.T) {
	for _, count := range []int{0, 1, 2, 3, 5, 50} {
		for name, isDown := range map[string]func(int) bool{
			"none":      func(int) bool { return false },
			"all":       func(int) bool { return true },
			"every odd": func(i int) bool { return i%2 == 1 },
			"but one":   func(i int) bool { return i != count/2 },
			"but two":   func(i int) bool { return i > 1 },
		} {
			t.Run(fmt.Sprintf("of %d, %s are down", count, name), func(t *testing.T) {
				f := newLatencyFarm(time.Second, make([]time.Duration, count)...)
				unavailable(f.pool, isDown)
				chosen, up := make(map[string]int), 0
				for range 200 * count {
					if u := f.policy.Select(f.pool, nil, nil); u != nil {
						chosen[u.Dial]++
					}
				}
				for i, u := range f.pool {
					if isDown(i) == (chosen[u.Dial] > 0) {
						t.Errorf("upstream %d, down %v, was chosen %d times", i, isDown(i), chosen[u.Dial])
					}
					if !isDown(i) {
						up++
					}
				}
				if up == 0 && f.policy.Select(f.pool, nil, nil) != nil {
					t.Error("one was chosen though none is available")
				}
			})
		}
	}
}

// Any two are as likely as any other two, also where most are down.
func TestTwoAreTakenAtRandom(t *testing.T) {
	const rounds = 60_000
	for _, count := range []int{4, 80} {
		f := newLatencyFarm(time.Second, make([]time.Duration, count)...)
		unavailable(f.pool, func(i int) bool { return i >= 4 })
		counts := make(map[[2]string]int)
		for range rounds {
			one, other := twoOf(f.pool)
			counts[[2]string{one.Dial, other.Dial}]++
		}
		const want = rounds / 12
		for pair, n := range counts {
			if n < want*8/10 || n > want*12/10 || pair[0] == pair[1] {
				t.Errorf("4 of %d are up: %v was taken %d times, want about %d", count, pair, n, want)
			}
		}
		if len(counts) != 12 {
			t.Errorf("4 of %d are up: %d pairs, want 12", count, len(counts))
		}
	}
}

func TestUpstreamsThatDoNotComeUpAnyMoreAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newLatencyFarm(10*time.Second, fastAnswer, slowAnswer)
		f.run(1, time.Second)
		for i := range 1000 { // of a dynamic source
			u := &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: fmt.Sprintf("dynamic-%d:1", i)}
			f.policy.Select(reverseproxy.UpstreamPool{u, f.pool[0]}, nil, nil)
			f.policy.times.answered(u, http.StatusOK, fastAnswer)
			time.Sleep(time.Second)
			f.policy.times.answered(f.pool[0], http.StatusOK, fastAnswer)
		}
		known := *f.policy.times.known.Load()
		if n := len(known); n > 200 {
			t.Errorf("%d upstreams are remembered, want those of the last minutes", n)
		}
		if known.of(f.pool[0]) == nil || known.of(f.pool[1]) != nil {
			t.Errorf("remembered are %v", known)
		}
	})
}

func TestRequestsOfManyClientsChooseAtOnce(t *testing.T) {
	f := newLatencyFarm(100*time.Millisecond, make([]time.Duration, 20)...)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 500 {
				pool := f.pool[i%10 : i%10+10] // as of a source that changes
				u := f.policy.Select(pool, nil, nil)
				switch i % 10 {
				case 0:
					f.policy.times.failed(u, time.Millisecond)
				case 1:
					f.policy.times.givenUp(u, time.Millisecond)
				default:
					f.policy.times.answered(u, 200+i%4*100, time.Duration(i)*time.Microsecond)
				}
			}
		})
	}
	all.Wait()
	if n := len(*f.policy.times.known.Load()); n > 20 {
		t.Errorf("%d upstreams are remembered, want 20 at most", n)
	}
}

func TestLeastLatencyInACaddyfile(t *testing.T) {
	for _, handler := range []string{"proxyos", "reverse_proxy"} {
		for block, want := range map[string]string{
			"":                   `"selection_policy":{"policy":"least_latency"}`,
			" {\n}":              `"selection_policy":{"policy":"least_latency"}`,
			" {\ndecay 1m30s\n}": `"selection_policy":{"decay":90000000000,"policy":"least_latency"}`,
		} {
			config, err := adapt(site(handler + " a:1 b:1 {\nlb_policy least_latency" + block + "\n}"))
			if err != nil || !strings.Contains(config, want) {
				t.Errorf("%s: least_latency%s: %v, %s", handler, block, err, config)
			}
		}
		for block, want := range map[string]string{
			" 5s":                       `least_latency takes a block, not "5s", at Caddyfile:3`,
			" {\nwindow 5s\n}":          `unrecognized subdirective "window" of least_latency; it takes decay, at Caddyfile:4`,
			" {\ndecai 5s\n}":           `unrecognized subdirective "decai"; did you mean decay?, at Caddyfile:4`,
			" {\ndecay soon\n}":         `decay: "soon" is not a duration; write one such as 10s, at Caddyfile:4`,
			" {\ndecay\n}":              "decay: wrong argument count; write `decay <duration>`, at Caddyfile:4",
			" {\ndecay 1s 2s\n}":        "decay: wrong argument count; write `decay <duration>`, at Caddyfile:4",
			" {\ndecay 0\n}":            `decay: 0s is outside 100ms to 24h; write a duration such as 10s, at Caddyfile:4`,
			" {\ndecay -1s\n}":          `decay: -1s is outside 100ms to 24h; write a duration such as 10s, at Caddyfile:4`,
			" {\ndecay 2d\n}":           `decay: 48h0m0s is outside 100ms to 24h; write a duration such as 10s, at Caddyfile:4`,
			" {\ndecay 1s\ndecay 2s\n}": `decay is already specified; write it once, at Caddyfile:5`,
		} {
			_, err := adapt(site(handler + " a:1 b:1 {\nlb_policy least_latency" + block + "\n}"))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: least_latency%s:\ngot  %v\nwant %s", handler, block, err, want)
			}
		}
	}
}

func TestLeastLatencyInJSON(t *testing.T) {
	const policy = `{"upstreams": ["a:1", "b:1"], "load_balancing": {"selection_policy": {"policy": "least_latency", "decay": %s}}}`
	for decay, want := range map[string]string{
		`"10s"`: "", "0": "", "100000000": "", `"24h"`: "",
		`"99ms"`: "decay: 99ms is outside 100ms to 24h", `"25h"`: "decay: 25h0m0s is outside 100ms to 24h", "-1": "decay: -1ns is outside 100ms to 24h",
	} {
		switch err := validate(t, "{}", named(fmt.Sprintf(policy, decay))); {
		case want == "" && err != nil:
			t.Errorf("decay %s: %v", decay, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("decay %s:\ngot  %v\nwant %s", decay, err, want)
		}
	}
}

// A policy tells its handler that it wants to know, also as another one's fallback.
func TestLeastLatencyIsToldByItsHandler(t *testing.T) {
	const policy = `{"policy": "least_latency"}`
	for name, selection := range map[string]string{
		"alone":         policy,
		"as a fallback": `{"policy": "header", "field": "X-Key", "fallback": ` + policy + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			handler := provisionBench[*Handler](t, "http.handlers.proxyos", object{
				"upstreams":      encode([]string{"told-a.example:1", "told-b.example:1"}),
				"staging":        encode(Group{Upstreams: []Upstream{{Address: "told-c.example:1"}}, LoadBalancing: &GroupLoadBalancing{SelectionPolicyRaw: []byte(selection)}}),
				"traffic_split":  encode(10),
				"load_balancing": []byte(`{"selection_policy": ` + selection + `}`),
			})
			if n := len(handler.route.latencies); n != 2 {
				t.Errorf("proxyos has %d policies to tell, want those of both groups", n)
			}
			proxy := provisionBench[*reverseproxy.Handler](t, "http.handlers.reverse_proxy", object{
				"upstreams":      []byte(`[{"dial": "told-a.example:1"}]`),
				"load_balancing": []byte(`{"selection_policy": ` + selection + `}`),
			})
			watched, ok := proxy.Transport.(*watchedTransport)
			if !ok || len(watched.to) != 1 {
				t.Errorf("reverse_proxy's transport is %T", proxy.Transport)
			}
		})
	}
}
