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

func TestAnInheritedCircuitIsOpenUntilTheChecksCanKnow(t *testing.T) {
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
		if got := timeToKnow(test.checks); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestACircuitIsOpenForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		b.failed("a:80", 10*time.Second)
		b.failed("b:80", 10*time.Second)
		b.forget("b:80")
		time.Sleep(10*time.Second - time.Nanosecond)
		if b.isClosed() || !b.isOpen("a:80") || b.isOpen("b:80") || b.isOpen("c:80") {
			t.Error("not exactly the circuit of the upstream that failed and has not answered is open")
		}
		time.Sleep(time.Nanosecond)
		if b.isOpen("a:80") {
			t.Error("the circuit stays open after its time")
		}
	})
}

// inheritingRoute returns a route whose config has a passive check of a minute.
func inheritingRoute(t *testing.T, state *routeState, dials ...string) *route {
	t.Helper()
	r := testRoute(t.Name(), state, newSplitter(0))
	r.proxy = &reverseproxy.Handler{HealthChecks: &reverseproxy.HealthChecks{
		Passive: &reverseproxy.PassiveHealthChecks{FailDuration: caddy.Duration(time.Minute)}}}
	plan := &groupPlan{name: production}
	for _, dial := range dials {
		plan.backends = append(plan.backends, backend{dial: dial})
	}
	r.production = newGroup(plan, testPool(dials...), r.breaker, &state.production)
	r.groups[0] = r.production
	r.inherit()
	return r
}

func TestWhatIsKnownOfUpstreamsSurvivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := newRouteState()
		first := inheritingRoute(t, state, "a:80")
		first.breaker.failed("a:80", 10*time.Second)
		time.Sleep(4 * time.Second)
		second := inheritingRoute(t, state, "a:80")
		first.releaseGroups()
		time.Sleep(6*time.Second - time.Nanosecond)
		if !second.breaker.isOpen("a:80") {
			t.Error("the next config sends requests to an upstream that was down")
		}
		time.Sleep(time.Nanosecond)
		if second.breaker.isOpen("a:80") {
			t.Error("each config begins again to avoid an upstream")
		}
	})
}

// A config that fails to load leaves what is known of an upstream as it was.
func TestAConfigThatFailsGivesBackWhatItTookOver(t *testing.T) {
	for name, known := range map[string]func(*breaker){
		"nothing":        func(*breaker) {},
		"that it failed": func(b *breaker) { b.failed("a:80", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			state := newRouteState()
			running := inheritingRoute(t, state, "a:80")
			running.production.pool[0].Host = new(reverseproxy.Host)
			known(running.breaker)
			before := running.breaker.of("a:80")
			over := running.breaker.takeOver("a:80", time.Minute)
			if !running.breaker.isOpen("a:80") {
				t.Error("the next config sends requests to an upstream that was down")
			}
			running.breaker.giveBack("a:80", over)
			if running.breaker.of("a:80") != before {
				t.Error("it is another circuit afterwards")
			}
			over = running.breaker.takeOver("a:80", time.Minute)
			running.breaker.failed("a:80", time.Hour)
			running.breaker.giveBack("a:80", over)
			if !running.breaker.isOpen("a:80") {
				t.Error("a failure meanwhile is forgotten")
			}
		})
	}
}

// An upstream that gets no request would be remembered, and looked up for each request to
// the others, for as long as the route lives.
func TestWhatIsKnownOfAnUpstreamEndsWithTheUpstream(t *testing.T) {
	state := newRouteState()
	first := inheritingRoute(t, state, "old:80", "app:80")
	first.breaker.failed("old:80", 0)
	first.breaker.failed("app:80", 0)
	second := inheritingRoute(t, state, "app:80", "new:80")
	if second.breaker.of("old:80") == nil {
		t.Error("a config that may yet fail to load takes knowledge from the one that runs")
	}
	first.releaseGroups()
	if second.breaker.of("old:80") != nil || second.breaker.of("app:80") == nil || second.breaker.of("new:80") != nil {
		t.Errorf("known: %v, want only app:80", second.breaker.known.Load())
	}
}

func TestAnUpstreamIsOnTrialAfterItsCircuitWasOpen(t *testing.T) {
	var b breaker
	b.failed("app:80", time.Hour)
	if !b.rejects("app:80") || !b.isOpen("app:80") {
		t.Error("it gets requests while its circuit is open")
	}
	if b.succeeded("app:80", 404, false); !b.rejects("app:80") {
		t.Error("its circuit is closed though it has not done well")
	}
	if b.succeeded("app:80", 204, false); !b.isClosed() {
		t.Error("its circuit is not closed though it has done well")
	}

	b.failed("app:80", 0)
	if b.rejects("app:80") || b.isOpen("app:80") || !b.isHalfOpen("app:80") {
		t.Error("it gets no trial")
	}
	if !b.admit("app:80") {
		t.Error("the first request is not admitted to the trial")
	}
	if !b.rejects("app:80") || b.admit("app:80") {
		t.Error("a second request is admitted")
	}
	if b.abandoned("app:80"); !b.admit("app:80") {
		t.Error("nobody is admitted after a trial that has shown nothing")
	}
	if b.failed("app:80", 0); !b.admit("app:80") {
		t.Error("nobody is admitted after a trial that has failed")
	}
	if b.succeeded("app:80", 404, false); !b.isClosed() {
		t.Error("it is on trial though it has answered")
	}
}

func TestOfManyRequestsAtOnceOneIsAdmittedToATrial(t *testing.T) {
	var b breaker
	for range 200 {
		b.failed("app:80", 0)
		var requests sync.WaitGroup
		var admitted atomic.Int64
		for range 8 {
			requests.Go(func() {
				if b.admit("app:80") {
					admitted.Add(1)
				}
				b.failed("other:80", 0) // what is known of others changes meanwhile
				b.forget("other:80")
			})
		}
		requests.Wait()
		if n := admitted.Load(); n != 1 {
			t.Fatalf("%d requests are admitted at once, want 1", n)
		}
	}
}

func TestAFailureDoesNotShortenTheTimeThatACircuitIsOpen(t *testing.T) {
	var b breaker
	b.failed("app:80", time.Hour)
	if b.failed("app:80", 0); !b.isOpen("app:80") {
		t.Error("the period is over")
	}
}

func TestUpstreamsThatNeverComeBackAreForgotten(t *testing.T) {
	var b breaker
	b.failed("gone:80", -2*time.Hour)
	b.failed("app:80", 0)
	if b.of("gone:80") != nil || b.of("app:80") == nil || len(*b.known.Load()) != 1 {
		t.Errorf("known: %v, want only app:80", b.known.Load())
	}
}

func TestOthersAreAdmittedFreely(t *testing.T) {
	var b breaker
	b.failed("app:80", 0)
	for range 3 {
		if !b.admit("other:80") || b.rejects("other:80") {
			t.Error("an upstream whose circuit is closed gets no request")
		}
	}
}

func TestATrialKeepsOthersAwayForASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		b.failed("app:80", 0)
		for range 3 {
			if !b.admit("app:80") || b.admit("app:80") || !b.rejects("app:80") {
				t.Error("not exactly one request is on trial")
			}
			time.Sleep(trialTime)
			if b.rejects("app:80") {
				t.Error("others are kept away for longer")
			}
		}
		if !b.isHalfOpen("app:80") {
			t.Error("a trial that has shown nothing closes the circuit")
		}
	})
}
