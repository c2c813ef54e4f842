package release

import (
	"fmt"
	"math"
	"testing"
)

// tick is what one tick counts: requests and failures of staging, and of production.
type tick [4]int64

func (t tick) groups() Groups {
	return Groups{Staging: Counts{Requests: t[0], Failed: t[1]}, Production: Counts{Requests: t[2], Failed: t[3]}}
}

func TestStagingIsJudgedWhileProductionDoesNotFail(t *testing.T) {
	repeat := func(n int, t tick) (all []tick) {
		for range n {
			all = append(all, t)
		}
		return all
	}
	good, end := tick{10, 0, 100, 1}, tick{0, 0, 100, 0}
	for _, c := range []struct {
		name    string
		ticks   []tick
		alone   bool
		want    [2]int64 // requests that are judged, and those of them that failed
		failing bool
	}{
		{"nothing has happened", nil, false, [2]int64{}, false},
		{"each tick, with the next one", []tick{good, good, good}, false, [2]int64{20, 0}, false},
		{"failures of staging", []tick{{10, 9, 100, 0}, end}, false, [2]int64{10, 9}, false},
		{"not in the tick in which production fails", []tick{good, {10, 9, 100, 60}}, false, [2]int64{}, true},
		{"nor in the one before", []tick{{10, 9, 100, 0}, {10, 9, 100, 60}, end, end}, false, [2]int64{}, false},
		{"nor while production is not seen since", []tick{good, {10, 9, 100, 60}, {5, 5, 0, 0}, {5, 5, 0, 0}}, false, [2]int64{}, true},
		{"but when it has recovered", []tick{{10, 9, 100, 60}, good, end}, false, [2]int64{10, 0}, false},
		{"five of a hundred are not more than 5 %", []tick{{10, 9, 100, 5}, end}, false, [2]int64{10, 9}, false},
		{"six are", []tick{{10, 9, 100, 6}}, false, [2]int64{}, true},
		{"one of one in a tick is, too", append(repeat(20, tick{1, 0, 1, 0}), tick{1, 0, 1, 1}), false, [2]int64{19, 0}, true},
		{"but not one of the latest 20", append(repeat(20, tick{1, 0, 1, 0}), tick{1, 0, 1, 1}, tick{1, 0, 1, 0}), false, [2]int64{19, 0}, false},
		{"two of them are", append(repeat(20, tick{1, 0, 1, 0}), tick{1, 0, 1, 1}, tick{1, 0, 1, 1}, tick{1, 0, 1, 0}), false, [2]int64{19, 0}, true},
		{"what was before them is forgotten", append([]tick{{0, 0, 20, 20}}, repeat(20, tick{1, 0, 1, 0})...), false, [2]int64{0, 0}, false},
		{"requests wait for 20 of production", []tick{{10, 9, 0, 0}, {10, 9, 19, 0}}, false, [2]int64{0, 0}, false},
		{"and count then", []tick{{10, 9, 0, 0}, {10, 9, 19, 0}, {10, 9, 1, 0}}, false, [2]int64{20, 18}, false},
		{"or after ten minutes", repeat(600, tick{1, 1, 0, 0}), false, [2]int64{600, 600}, false},
		{"in which failures of production are forgotten", append([]tick{{1, 1, 100, 90}}, repeat(600, tick{1, 1, 0, 0})...), false, [2]int64{1, 1}, false},
		{"for good", append(append([]tick{{1, 1, 100, 90}}, repeat(600, tick{1, 1, 0, 0})...), tick{1, 0, 1, 0}), false, [2]int64{1, 1}, false},
		{"alone, all count at once", []tick{{10, 9, 0, 0}, {10, 9, 0, 0}}, true, [2]int64{20, 18}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := Tally{MaxErrors: 0.05}
			for _, tick := range c.ticks {
				tally.Tick(tick.groups(), c.alone)
			}
			s := tally.Groups().Staging
			if got := [2]int64{s.Judged, s.JudgedFailed}; got != c.want || tally.ProductionFails() != c.failing {
				t.Errorf("judged %v, production fails %v; want %v, %v", got, tally.ProductionFails(), c.want, c.failing)
			}
		})
	}
	t.Run("with the test off, production never fails", func(t *testing.T) {
		var tally Tally
		if tally.Tick(tick{1, 1, 1, 1}.groups(), false); tally.ProductionFails() {
			t.Error("it fails")
		}
	})
}

func TestATallyCountsEachRequestOnce(t *testing.T) {
	random, tally, want := seeded(3), Tally{MaxErrors: 0.05}, Groups{}
	for range 1000 {
		var since Groups
		for _, c := range []*Counts{&since.Staging, &since.Production} {
			c.Requests = random.Int64N(30)
			c.Failed, c.Timed = c.Requests/20, c.Requests/2
			c.Slow = c.Timed / 3
		}
		want = want.Add(since)
		tally.Tick(since, false)
		got := tally.Groups()
		want.Staging.Judged, want.Staging.JudgedFailed = got.Staging.Judged, got.Staging.JudgedFailed
		want.FailedShare, want.SlowShare = got.FailedShare, got.SlowShare
		if got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if failed := float64(got.Staging.Failed + got.Production.Failed); got.FailedShare < 0 || got.FailedShare > failed {
			t.Fatalf("the share of %v failures adds up to %v", failed, got.FailedShare)
		}
	}
	tally.Tick(tick{1, 1, 1, 1}.groups(), false)
	if tally.Begin(); tally.Groups() != (Groups{}) {
		t.Errorf("another round begins with %+v", tally.Groups())
	}
}

func TestTheShareIsMeasuredAboutTheTimeOfEachFailure(t *testing.T) {
	var tally Tally
	tally.Tick(tick{100, 0, 9900, 0}.groups(), false)
	tally.Tick(tick{50, 50, 50, 50}.groups(), false) // staging has half of the requests just then
	tally.Tick(tick{1, 0, 99, 0}.groups(), false)
	g := tally.Groups()
	if share := g.FailedShare / float64(g.Staging.Failed+g.Production.Failed); math.Abs(share-0.5) > 1e-9 {
		t.Errorf("measured %v, want 0.5", share)
	}
	p := only(1)
	if e := newEvidence(1).after(&p, g, 0); e.Errors.log() > 0 {
		t.Errorf("all fail together, and that counts against staging: log E is %v", e.Errors.log())
	}
}

// outage is a database that is gone for a while, again and again.
type outage struct {
	share float64 // of staging, as a fraction
	rate  float64 // requests each second
	fails float64 // which fraction of the requests of both groups fails during it
	first int64   // how many requests of staging fail just before, at most
}

func (o outage) String() string {
	return fmt.Sprintf("%v%% of %v a second, %v%% fail, %d before", 100*o.share, o.rate, 100*o.fails, o.first)
}

// An outage of both groups must not count against staging, whatever the share and the traffic.
func TestFailingTogetherIsNotStagingsFault(t *testing.T) {
	p, enough := DefaultPlan(), alarm(0.99)
	var outages []outage
	for _, share := range []float64{0.01, 0.1, 0.5, 0.9} {
		for _, rate := range []float64{0.5, 5, 100} {
			for _, fails := range []float64{0.3, 1} {
				for _, first := range []int64{0, 2} {
					outages = append(outages, outage{share: share, rate: rate, fails: fails, first: first})
				}
			}
		}
	}
	n := runs(t, 40, 6)
	alarms, releases := 0, 0
	for i, o := range outages {
		was := alarms
		for run := range n {
			random := seeded(1000*i + run)
			tally := Tally{MaxErrors: p.MaxErrors}
			each, judged := 1+random.IntN(600), int64(0)
			for second := range 3000 {
				isOut := second%900 >= each && second%900 < each+60
				fails := 0.002
				if isOut {
					fails = o.fails
				}
				requests := binomial(random, int64(math.Ceil(2*o.rate)), o.rate/math.Ceil(2*o.rate))
				var g Groups
				g.Staging.Requests = binomial(random, requests, o.share)
				g.Production.Requests = requests - g.Staging.Requests
				g.Staging.Failed = binomial(random, g.Staging.Requests, fails)
				g.Production.Failed = binomial(random, g.Production.Requests, fails)
				if second%900 == each-1 {
					g.Staging.Failed = min(g.Staging.Requests, max(o.first, g.Staging.Failed))
				}
				tally.Tick(g, false)
				judgedFailed := tally.Groups().Staging.JudgedFailed
				if g.Staging.Failed == 0 && judgedFailed == judged {
					continue // no evidence against it
				}
				judged = judgedFailed
				now := newEvidence(1).after(&p, tally.Groups(), 100*o.share)
				if now.Errors.log() >= enough || now.MaxErrors.log() >= enough {
					alarms++
					break
				}
			}
		}
		releases += n
		// Where production has a request in 20 seconds, an outage of a minute may pass unseen.
		if 10*(alarms-was) > n+20 {
			t.Errorf("%v: %d alarms in %d releases", o, alarms-was, n)
		}
	}
	t.Logf("%d alarms in %d releases", alarms, releases)
	if tooMany(alarms, releases) {
		t.Errorf("%d alarms in %d releases, want at most 1 %%", alarms, releases)
	}
}
