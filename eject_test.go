package proxyos

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// ejecting returns a group of upstreams from which those that fail too often are ejected.
func ejecting(config Eject, upstreams int) *group {
	weights := make([]int, upstreams)
	for i := range weights {
		weights[i] = 1
	}
	g := testGroup(weights)
	g.ejector = newEjector(&config, g, &route{groups: []*group{g}, logger: zap.NewNop()})
	return g
}

// serve sends n requests to those that are available, of which each has the failures of its
// upstream, in percent; it returns how many failed.
func (g *group) serve(n int, failing ...int) (failed int) {
	sent := make(map[*target]int)
	for range n {
		time.Sleep(judgeInterval)
		upstream := g.pick(*g.seated.Load(), nil, nil, nil)
		if upstream == nil {
			continue
		}
		at := g.targetOf(upstream)
		percent := 0
		for i, t := range g.targets {
			if t == at {
				percent = failing[i]
			}
		}
		sent[at]++
		isBad := sent[at]*percent/100 > (sent[at]-1)*percent/100
		status := 200
		if isBad {
			status = 503
			failed++
		}
		g.breaker.succeeded(upstream.Dial, status, true)
		g.ejector.observe(at, isBad)
		synctest.Wait()
	}
	return failed
}

func (g *group) ejected() (n int) {
	for _, t := range g.targets {
		if g.stateOf(t) == healthEjected {
			n++
		}
	}
	return n
}

func TestWhoIsEjected(t *testing.T) {
	for name, test := range map[string]struct {
		config  Eject
		failing []int
		want    int
	}{
		"one of four fails":           {Eject{Ratio: 0.5}, []int{50, 0, 0, 0}, 1},
		"below the ratio":             {Eject{Ratio: 0.5}, []int{40, 0, 0, 0}, 0},
		"all fail":                    {Eject{Ratio: 0.5}, []int{50, 50, 50, 50}, 0},
		"all fail, one a bit more":    {Eject{Ratio: 0.5}, []int{60, 50, 50, 50}, 0},
		"two of four fail":            {Eject{Ratio: 0.5}, []int{100, 100, 0, 0}, 2},
		"three of four fail":          {Eject{Ratio: 0.5, MaxPercent: new(100.0)}, []int{100, 0, 100, 100}, 0},
		"no more than the most":       {Eject{Ratio: 0.1, MaxPercent: new(25.0)}, []int{100, 100, 0, 0, 0, 0, 0}, 1},
		"at least one may be out":     {Eject{Ratio: 0.5, MaxPercent: new(1.0)}, []int{100, 0, 0}, 1},
		"none may":                    {Eject{Ratio: 0.5, MaxPercent: new(0.0)}, []int{100, 0, 0}, 0},
		"the only one":                {Eject{Ratio: 0.5}, []int{100}, 0},
		"one of two":                  {Eject{Ratio: 0.5}, []int{100, 0}, 1},
		"too few requests":            {Eject{Ratio: 0.5, MinRequests: new(1000)}, []int{100, 0}, 0},
		"a few are enough":            {Eject{Ratio: 1, MinRequests: new(1)}, []int{100, 0}, 1},
		"what others fail counts too": {Eject{Ratio: 0.5}, []int{100, 60}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := ejecting(test.config, len(test.failing))
				time.Sleep(time.Hour)
				g.serve(40*len(test.failing), test.failing...)
				if got := g.ejected(); got != test.want {
					t.Errorf("%d are ejected, want %d", got, test.want)
				}
			})
		})
	}
}

// Failures that are long ago do not count.
func TestEjectingLooksAtTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := ejecting(Eject{Ratio: 0.5}, 2)
		for range 50 {
			g.serve(4, 100, 0) // two requests each in five seconds, that is four in the window
			time.Sleep(5 * time.Second)
		}
		if g.ejected() != 0 {
			t.Error("an upstream is ejected that has had too few requests in the window")
		}
	})
}

// An ejected upstream comes back by a trial, and is out for twice as long each time, until it has
// done well for a while.
func TestAnEjectedUpstreamIsTriedAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := ejecting(Eject{Ratio: 0.5}, 2)
		g.serve(80, 100, 0)
		dial := g.pool[0].Dial
		for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			left := g.breaker.openFor(dial).Round(time.Second)
			if left != want {
				t.Errorf("it is out for %s, want %s", left, want)
			}
			g.breaker.succeeded(dial, 200, true) // an answer to what was under way
			if g.stateOf(g.targets[0]) != healthEjected {
				t.Error("it is back before its time is over")
			}
			time.Sleep(want)
			synctest.Wait()
			if g.stateOf(g.targets[0]) != healthTrial {
				t.Error("it is not tried when its time is over")
			}
			g.serve(2, 100, 0) // the trial fails
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		g.serve(2, 0, 0) // the trial does well
		if g.stateOf(g.targets[0]) != healthUp {
			t.Error("it is not back after it has done well on trial")
		}
		time.Sleep(6 * time.Minute)
		g.serve(80, 100, 0)
		if left := g.breaker.openFor(dial).Round(time.Second); left != 30*time.Second {
			t.Errorf("after it has done well for long it is out for %s", left)
		}
	})
}

// Nobody is ejected who is the last of another group of the route, or whose address each request
// decides.
func TestWhoIsNeverEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := ejecting(Eject{Ratio: 0.5}, 2)
		other := testGroup([]int{1}) // the same address as the first
		other.breaker = g.breaker
		g.ejector.route.groups = append(g.ejector.route.groups, other)
		g.serve(80, 100, 0)
		if g.ejected() != 0 {
			t.Error("the last upstream of the other group is ejected")
		}

		g = ejecting(Eject{Ratio: 0.5}, 2)
		g.targets[0].late = true
		g.serve(80, 100, 0)
		if g.ejected() != 0 {
			t.Error("an upstream is ejected whose address each request decides")
		}
	})
}

func TestAnEjectionEndsOnlyAsItShould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		b.eject("a:80", 5*time.Second)
		b.failed("a:80", 10*time.Second)
		if !b.isEjected("a:80") {
			t.Error("a failed dial makes it a plain failure")
		}
		time.Sleep(10 * time.Second)
		if b.succeeded("a:80", 503, true); b.of("a:80") == nil {
			t.Error("a 503 on trial closes the circuit")
		}
		if b.succeeded("a:80", 503, false); b.of("a:80") != nil {
			t.Error("it stays half-open for ever in a config that ejects nobody")
		}
	})
}
