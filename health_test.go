package proxyos

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestDistrustLastsUntilTheChecksCanKnow(t *testing.T) {
	seconds := func(n int) caddy.Duration { return caddy.Duration(time.Duration(n) * time.Second) }
	for name, test := range map[string]struct {
		checks *reverseproxy.HealthChecks
		want   time.Duration
	}{
		"no checks":     {nil, 0},
		"empty checks":  {&reverseproxy.HealthChecks{}, 0},
		"passive":       {&reverseproxy.HealthChecks{Passive: &reverseproxy.PassiveHealthChecks{FailDuration: seconds(10)}}, 10 * time.Second},
		"active is off": {&reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{Interval: seconds(30)}}, 0},
		"active": {&reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{
			URI: "/up", Interval: seconds(30), Timeout: seconds(2), Fails: 3}}, 63 * time.Second},
		"the longer counts": {&reverseproxy.HealthChecks{
			Active:  &reverseproxy.ActiveHealthChecks{URI: "/up", Interval: seconds(1), Timeout: seconds(1), Fails: 1},
			Passive: &reverseproxy.PassiveHealthChecks{FailDuration: seconds(40)}}, 40 * time.Second},
	} {
		if got := distrustFor(test.checks); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestDistrustEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d distrust
		d.add("a:80", time.Now().Add(10*time.Second))
		d.add("b:80", time.Now().Add(10*time.Second))
		d.remove("b:80")
		time.Sleep(10*time.Second - time.Nanosecond)
		if !d.any() || !d.has("a:80") || d.has("b:80") || d.has("c:80") {
			t.Error("not exactly the upstream that was added and has not answered is distrusted")
		}
		time.Sleep(time.Nanosecond)
		if d.has("a:80") {
			t.Error("distrust outlives its time")
		}
	})
}

func TestDistrustIsTakenOverWithWhatIsLeftOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "a:80"}
		route := func() *Handler {
			return &Handler{
				proxy: &reverseproxy.Handler{HealthChecks: &reverseproxy.HealthChecks{
					Passive: &reverseproxy.PassiveHealthChecks{FailDuration: caddy.Duration(time.Minute)}}},
				stats: map[*reverseproxy.Upstream]*upstreamState{upstream: new(upstreamState)},
			}
		}
		first, second, third := route(), route(), route()
		first.distrust.add(upstream.Dial, time.Now().Add(10*time.Second))
		time.Sleep(4 * time.Second)
		second.distrustAsBefore(first)
		third.distrustAsBefore(nil)
		time.Sleep(6*time.Second - time.Nanosecond)
		if !second.distrust.has(upstream.Dial) {
			t.Error("the next config trusts an upstream that was down")
		}
		if third.distrust.any() {
			t.Error("a config with none before it distrusts")
		}
		time.Sleep(time.Nanosecond)
		if second.distrust.has(upstream.Dial) {
			t.Error("each config begins to distrust anew")
		}
	})
}

// An upstream that gets no request would be remembered, and looked up for each request to
// the others, for as long as the config runs.
func TestDistrustOfAnUpstreamEndsWithTheUpstream(t *testing.T) {
	route := func(dials ...string) *Handler {
		h := &Handler{proxy: new(reverseproxy.Handler), stats: make(map[*reverseproxy.Upstream]*upstreamState)}
		for _, dial := range dials {
			h.stats[&reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial}] = new(upstreamState)
		}
		return h
	}
	first, second := route("old:80", "app:80"), route("app:80", "new:80")
	first.distrust.add("old:80", time.Now())
	first.distrust.add("app:80", time.Now())
	second.distrustAsBefore(first)
	if second.distrust.knows("old:80") || !second.distrust.knows("app:80") || second.distrust.knows("new:80") {
		t.Errorf("distrusted: %v, want app:80 alone", second.distrust.known.Load())
	}
}

func TestADistrustedUpstreamIsOnTrialAfterItsPeriod(t *testing.T) {
	var d distrust
	d.add("app:80", time.Now().Add(time.Hour))
	if !d.bars("app:80") || !d.has("app:80") {
		t.Error("it is available during its period")
	}
	if d.answered("app:80", 404); !d.bars("app:80") {
		t.Error("it is trusted again though it has not done well")
	}
	if d.answered("app:80", 204); d.any() {
		t.Error("it is distrusted though it has done well")
	}

	d.add("app:80", time.Now())
	if d.bars("app:80") || d.has("app:80") {
		t.Error("it gets no trial")
	}
	if !d.admit("app:80") {
		t.Error("the first request is not admitted to the trial")
	}
	if !d.bars("app:80") || d.admit("app:80") {
		t.Error("a second request is admitted")
	}
	if d.release("app:80"); !d.admit("app:80") {
		t.Error("nobody is admitted after a trial that has shown nothing")
	}
	if d.add("app:80", time.Now()); !d.admit("app:80") {
		t.Error("nobody is admitted after a trial that has failed")
	}
	if d.answered("app:80", 404); d.any() {
		t.Error("it is on trial though it has answered")
	}
}

func TestOfManyRequestsAtOnceOneIsAdmittedToATrial(t *testing.T) {
	var d distrust
	for range 200 {
		d.add("app:80", time.Now())
		var requests sync.WaitGroup
		var admitted atomic.Int64
		for range 8 {
			requests.Go(func() {
				if d.admit("app:80") {
					admitted.Add(1)
				}
				d.add("other:80", time.Now()) // what is known of others changes meanwhile
				d.remove("other:80")
			})
		}
		requests.Wait()
		if n := admitted.Load(); n != 1 {
			t.Fatalf("%d requests are admitted at once, want 1", n)
		}
	}
}

func TestAFailureDoesNotShortenAPeriodOfDistrust(t *testing.T) {
	var d distrust
	d.add("app:80", time.Now().Add(time.Hour))
	if d.add("app:80", time.Now()); !d.has("app:80") {
		t.Error("the period is over")
	}
}

func TestUpstreamsThatNeverComeBackAreForgotten(t *testing.T) {
	var d distrust
	d.add("gone:80", time.Now().Add(-2*time.Hour))
	d.add("app:80", time.Now())
	if d.knows("gone:80") || !d.knows("app:80") || len(*d.known.Load()) != 1 {
		t.Errorf("distrusted: %v, want app:80 alone", d.known.Load())
	}
}

func TestOthersAreAdmittedFreely(t *testing.T) {
	var d distrust
	d.add("app:80", time.Now())
	for range 3 {
		if !d.admit("other:80") || d.bars("other:80") {
			t.Error("an upstream that is not distrusted is held back")
		}
	}
}
