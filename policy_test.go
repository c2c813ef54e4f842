package proxyos

import (
	"net/http"
	"testing"

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
	g := &group{policy: new(forgetful), pool: pool, turns: newTurns(pool, nil), breaker: new(breaker)}
	if got := g.pick(new(journey), nil, nil); got != g.pool[0] {
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
		g := &group{policy: policy, pool: pool, turns: newTurns(pool, nil), breaker: new(breaker)}
		got := g.pick(&journey{tried: g.pool[:1]}, nil, nil)
		if got == nil && test.want != "" || got != nil && got.Dial != test.want {
			t.Errorf("weights %v: retried at %v, want %q", test.weights, got, test.want)
		}
	}
}
