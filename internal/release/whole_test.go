package release

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// whole is a whole release with the default plan, second by second.
type whole struct {
	rate     float64 // requests each second
	fails    float64 // how likely a request of production fails
	worse    float64 // how many times as likely one of staging does
	slow     float64 // how likely one of staging is slow; one of production is with 5 %
	outages  bool    // every half hour, all requests of both groups fail for a minute
	measured bool
}

// run returns how the release has ended, and how long it took.
func (w whole) run(t *testing.T, random *rand.Rand) (State, time.Duration) {
	s, err := Start(DefaultPlan(), State{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	tally, countsFrom, now := Tally{MaxErrors: s.Plan.MaxErrors}, s.CountsFrom, noon
	for s.IsActive() {
		now = now.Add(time.Second)
		fails := w.fails
		if second := int(now.Sub(noon).Seconds()); w.outages && s.Percent() < 100 && second%1800 > 1700 && second%1800 <= 1760 {
			fails = 1
		}
		requests := binomial(random, int64(10*w.rate), 0.1)
		ofStaging := binomial(random, requests, s.Percent()/100)
		var since Groups
		since.Staging = Counts{Requests: ofStaging, Failed: binomial(random, ofStaging, min(fails*w.worse, 1)), Timed: ofStaging, Slow: binomial(random, ofStaging, w.slow)}
		ofProduction := requests - ofStaging
		since.Production = Counts{Requests: ofProduction, Failed: binomial(random, ofProduction, fails), Timed: ofProduction, Slow: binomial(random, ofProduction, 0.05)}
		tally.Tick(since, s.Percent() == 100)

		seen := Seen{Counts: tally.Groups(), Exact: s.Percent(), ProductionFails: tally.ProductionFails()}
		if w.measured {
			seen.Exact = 0
		}
		if s, err = s.Apply(Decide(s, seen, now), now); err != nil {
			t.Fatal(err)
		}
		if s.CountsFrom != countsFrom {
			tally.Begin()
			countsFrom = s.CountsFrom
		}
	}
	return s, now.Sub(noon)
}

func TestAWholeRelease(t *testing.T) {
	n := runs(t, 30, 2)
	for i, c := range []struct {
		name string
		whole
		want Phase
	}{
		{"as good", whole{rate: 20, fails: 0.002, worse: 1, slow: 0.05}, Done},
		{"as good, with a share that is measured", whole{rate: 20, fails: 0.002, worse: 1, slow: 0.05, measured: true}, Done},
		{"as good, with outages of both", whole{rate: 20, fails: 0.002, worse: 1, slow: 0.05, outages: true}, Done},
		{"better", whole{rate: 20, fails: 0.01, worse: 0, slow: 0.01}, Done},
		{"fails five times as often", whole{rate: 20, fails: 0.005, worse: 5, slow: 0.05}, RolledBack},
		{"fails always, with little traffic", whole{rate: 1, fails: 0.002, worse: 500, slow: 0.05}, RolledBack},
		{"always slow, with little traffic", whole{rate: 1, fails: 0, worse: 1, slow: 1}, RolledBack},
		{"three times as slow", whole{rate: 20, fails: 0.002, worse: 1, slow: 0.15, measured: true}, RolledBack},
	} {
		t.Run(c.name, func(t *testing.T) {
			ended, most := 0, time.Duration(0)
			for run := range n {
				s, took := c.run(t, seeded(1000*i+run))
				if s.Phase == c.want {
					ended++
				} else {
					t.Logf("%s at %s: %s", s.Phase, percent(s.Percent()), s.Reason)
				}
				most = max(most, took)
			}
			t.Logf("%d of %d are %s, after %s at most", ended, n, c.want, short(most))
			if ended < n-n/30 {
				t.Errorf("%d of %d are %s", ended, n, c.want)
			}
		})
	}
}

func TestAReleaseWithHardlyAnyTrafficEndsAtItsDeadline(t *testing.T) {
	s, took := whole{rate: 0.1, fails: 0.002, worse: 1, slow: 0.05}.run(t, seeded(1))
	if s.Phase != RolledBack || s.Step != 0 || took != 24*time.Hour || !strings.Contains(s.Reason, "the deadline of 24h is over at 1 %, waiting for") {
		t.Errorf("%s at %s after %v: %s", s.Phase, percent(s.Percent()), took, s.Reason)
	}
}
