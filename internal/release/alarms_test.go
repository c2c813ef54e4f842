package release

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// release is how a simulated release goes.
type release struct {
	plan     Plan
	base     float64 // how likely a request of production fails
	worse    float64 // how many times as likely one of staging does
	bursts   bool    // for a while, half of the requests of both groups fail
	measured bool    // the share is measured
	drift    float64 // how far the share drifts, as the standard deviation of its logarithm: stickiness does that
}

// alarms tells whether a test that compares or max_errors finds staging worse in 100,000 requests.
// Each request has a group at random, and each failure of staging is looked at.
func (r release) alarms(random *rand.Rand) bool {
	const requests, stretch = 100_000, 500
	enough, e := alarm(r.plan.Confidence), newEvidence(1)
	round, burst := 1, 0
	for i, step := range r.plan.Steps {
		for half := range 2 {
			if i > 0 || half > 0 {
				round++
				e = e.renewed(round)
			}
			var tally Tally
			exact := step
			if r.measured {
				exact = 0
			}
			for range requests / len(r.plan.Steps) / 2 / stretch {
				share := step / 100
				if r.drift > 0 {
					share = min(share*math.Exp(r.drift*random.NormFloat64()), 1)
				}
				fails := r.base
				if burst--; r.bursts && burst < 0 && random.IntN(60) == 0 {
					burst = 1 + random.IntN(3)
				}
				if r.bursts && burst >= 0 {
					fails = 0.5
				}
				ofStaging := share * min(fails*r.worse, 1)
				fails = ofStaging + (1-share)*fails
				goodOfStaging := (share - ofStaging) / (1 - fails)
				for left := int64(stretch); ; {
					skipped := geometric(random, fails) - 1
					good := min(skipped, left)
					staging := binomial(random, good, goodOfStaging)
					since := Groups{Staging: Counts{Requests: staging}, Production: Counts{Requests: good - staging}}
					left -= skipped + 1
					isStaging := random.Float64()*fails < ofStaging
					switch {
					case left < 0:
					case isStaging:
						since = since.Add(Groups{Staging: Counts{Requests: 1, Failed: 1}})
					default:
						since = since.Add(Groups{Production: Counts{Requests: 1, Failed: 1}})
					}
					tally.Tick(since, false)
					if left < 0 {
						break
					}
					if !isStaging {
						continue // which can only weaken the evidence
					}
					if now := e.after(&r.plan, tally.Groups(), exact); now.Errors.log() >= enough || now.MaxErrors.log() >= enough {
						return true
					}
				}
			}
			e = e.after(&r.plan, tally.Groups(), exact)
		}
	}
	return false
}

// tooMany tells whether alarms are more than 1 % of the releases; of few of them, by more than chance.
func tooMany(alarms, releases int) bool {
	most := float64(releases) / 100
	if releases < 2000 {
		most += 3 * math.Sqrt(most)
	}
	return float64(alarms) > most
}

func TestAlarmsAreRarelyFalse(t *testing.T) {
	steps := func(tolerance float64, steps ...float64) Plan {
		p := only(tolerance)
		p.Steps = steps
		return p
	}
	atMost := only(0)
	atMost.MaxErrors, atMost.Steps = 0.05, []float64{10, 50}
	n := runs(t, 2000, 50)
	for i, c := range []struct {
		name string
		release
	}{
		{"as good", release{plan: steps(1, 10), base: 0.01, worse: 1}},
		{"as good, over steps", release{plan: steps(1, 1, 5, 25, 50), base: 0.01, worse: 1}},
		{"as good, in bursts", release{plan: steps(1, 1, 5, 25, 50), base: 0.01, worse: 1, bursts: true}},
		{"as good, in bursts, measured", release{plan: steps(1, 1, 5, 25, 50), base: 0.01, worse: 1, bursts: true, measured: true}},
		{"as good, in bursts, with a share that drifts", release{plan: steps(1.5, 1, 5, 25, 50), base: 0.01, worse: 1, bursts: true, measured: true, drift: 0.5}},
		{"tolerated", release{plan: steps(1.5, 1, 5, 25, 50), base: 0.01, worse: 1.4}},
		{"tolerated, and often", release{plan: steps(1.5, 10), base: 0.04, worse: 1.5}},
		{"just as many as at most", release{plan: atMost, base: 0.05, worse: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			alarms := 0
			for run := range n {
				if c.alarms(seeded(1_000_000*i + run)) {
					alarms++
				}
			}
			t.Logf("%d alarms in %d releases", alarms, n)
			if tooMany(alarms, n) {
				t.Errorf("%d alarms in %d releases, want at most 1 %%", alarms, n)
			}
		})
	}
}

// What was good for a day is found as soon as it fails, not only when it has failed for as long.
func TestWhatWasGoodForLongIsFoundSoon(t *testing.T) {
	p, enough := DefaultPlan(), alarm(0.99)
	for _, c := range []struct {
		worse float64
		most  int64 // staging requests until it is found
	}{{100, 300}, {10, 1500}} {
		t.Run(fmt.Sprintf("%vx", c.worse), func(t *testing.T) {
			random, e, round := seeded(7), newEvidence(1), 1
			for ; round <= 144; round++ {
				g := Groups{Staging: Counts{Requests: 25_000, Judged: 25_000}, Production: Counts{Requests: 75_000}}
				g.Staging.Failed = binomial(random, 25_000, 0.01)
				g.Staging.JudgedFailed = g.Staging.Failed
				g.Production.Failed = binomial(random, 75_000, 0.01)
				e = e.after(&p, g, 25).renewed(round + 1)
			}
			var g Groups
			for g.Staging.Requests < 100_000 {
				g.Staging.Requests += 10
				g.Staging.Failed += binomial(random, 10, 0.01*c.worse)
				g.Staging.Judged, g.Staging.JudgedFailed = g.Staging.Requests, g.Staging.Failed
				g.Production.Requests += 30
				g.Production.Failed += binomial(random, 30, 0.01)
				if now := e.after(&p, g, 25); now.Errors.log() >= enough || now.MaxErrors.log() >= enough {
					break
				}
			}
			t.Logf("found after %d requests", g.Staging.Requests)
			if g.Staging.Requests > c.most {
				t.Errorf("found after %d requests of staging, want %d at most", g.Staging.Requests, c.most)
			}
		})
	}
}
