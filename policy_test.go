package proxyos

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// forgetful is a policy that finds nobody the first time it is asked.
type forgetful struct{ asked int }

func (f *forgetful) Select(pool reverseproxy.UpstreamPool, _ *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	if f.asked++; f.asked == 1 {
		return nil
	}
	return pool[0]
}

func testPool(dials ...string) reverseproxy.UpstreamPool {
	var pool reverseproxy.UpstreamPool
	for _, dial := range dials {
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial})
	}
	return pool
}

func TestAPolicyThatFindsNobodyIsAskedAgainWhileSomebodyIsUp(t *testing.T) {
	pool := testPool("a:80")
	g := &group{pool: pool, breaker: new(breaker)}
	g.seated.Store(&seats{pool: pool, policy: new(forgetful), turns: newTurns(pool, nil)})
	if got := g.pick(*g.seated.Load(), nil, nil, nil); got != g.pool[0] {
		t.Errorf("picked %v, want a:80", got)
	}
}

func TestARetryUnderCaddysWeightsGoesToNobodyWithoutAShare(t *testing.T) {
	for _, test := range []struct {
		weights []int
		want    string // empty: nobody
	}{
		{[]int{3, 0, 2}, "c:80"},
		{[]int{3, 0}, ""},
		{[]int{3}, ""},
	} {
		policy := &reverseproxy.WeightedRoundRobinSelection{Weights: test.weights}
		if err := policy.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		pool := testPool("a:80", "b:80", "c:80")
		g := &group{pool: pool, breaker: new(breaker)}
		g.seated.Store(&seats{pool: pool, policy: policy, turns: newTurns(pool, nil)})
		got := g.pick(*g.seated.Load(), tried(g.pool[:1]), nil, nil)
		if got == nil && test.want != "" || got != nil && got.Dial != test.want {
			t.Errorf("weights %v: retried at %v, want %q", test.weights, got, test.want)
		}
	}
}

// While all are marked down, requests are tried on them by weight, and moved on by nothing
// but their own turns.
func TestTheLastResortGoesByWeight(t *testing.T) {
	for _, weights := range [][]int{{3, 1}, {1, 3}, {1, 1}, {2, 1}, {5, 3, 1}, {1, 1, 1, 1, 1}, {4, 0, 2}, {7, 1, 1, 1, 1, 1}, {1000, 1}} {
		for _, pool := range []int{len(weights), 2 * len(weights), 3 * len(weights)} {
			var all []int
			total := 0
			for i := range pool {
				all = append(all, weights[i%len(weights)])
				total += weights[i%len(weights)]
			}
			g := testGroup(all)
			for _, u := range g.pool {
				g.breaker.failed(u.Dial, time.Hour)
			}
			counts := make(map[string]int)
			for range 2 * total {
				if got := g.pick(*g.seated.Load(), nil, nil, nil); got != nil {
					t.Fatalf("%s is picked though it is marked down", got.Dial)
				}
				counts[g.lastResort(*g.seated.Load(), nil, nil, nil).Dial]++
			}
			for i, u := range g.pool {
				if got, want := counts[u.Dial], 2*all[i]; got != want {
					t.Errorf("weights %v: %s had %d of %d requests, want %d", all, u.Dial, got, 2*total, want)
				}
			}
		}
	}
}

func TestWhatAnActiveCheckFoundDownIsNoLastResort(t *testing.T) {
	g := testGroup([]int{1, 1})
	for _, u := range g.pool {
		g.breaker.failed(u.Dial, time.Hour)
	}
	g.targets[0].unhealthy.Store(true)
	for range 4 {
		if got := g.lastResort(*g.seated.Load(), nil, nil, nil); got != g.pool[1] {
			t.Errorf("tried is %v", got)
		}
	}
	g.targets[1].unhealthy.Store(true)
	if got := g.lastResort(*g.seated.Load(), nil, nil, nil); got != nil {
		t.Errorf("tried is %v though both checks have failed", got)
	}
}

// testGroup returns a group of upstreams of given weights that is not provisioned.
func testGroup(weights []int) *group {
	plan := &groupPlan{name: production}
	var dials []string
	for i, weight := range weights {
		dials = append(dials, fmt.Sprintf("u%d:80", i))
		plan.backends = append(plan.backends, backend{dial: dials[i], weight: weight})
	}
	g := newGroup(plan, testPool(dials...), new(breaker), new(groupState))
	g.seat()
	return g
}
