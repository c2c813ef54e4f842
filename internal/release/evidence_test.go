package release

import (
	"math"
	"math/big"
	"testing"
)

// naiveEvidence returns E as its definition has it, with 400 bits and no logarithms:
// the mean over r of (q/p0)^events · ((1−q)/(1−p0))^others, where r is the ratio of the odds of q and p0.
func naiveEvidence(events, others int, p0 float64) *big.Float {
	number := func(x float64) *big.Float { return new(big.Float).SetPrec(400).SetFloat64(x) }
	op := func() *big.Float { return new(big.Float).SetPrec(400) }
	sum, p := number(0), number(p0)
	notP := op().Sub(number(1), p)
	for _, r := range []float64{1.5, 2, 3, 5, 10, 30} {
		odds := op().Quo(op().Mul(number(r), p), notP)
		q := op().Quo(odds, op().Add(odds, number(1)))
		event, other := op().Quo(q, p), op().Quo(op().Sub(number(1), q), notP)
		product := number(1)
		for range events {
			product.Mul(product, event)
		}
		for range others {
			product.Mul(product, other)
		}
		sum.Add(sum, product)
	}
	return sum.Quo(sum, number(6))
}

// logOf returns the natural logarithm of a number that may not fit a float64.
func logOf(x *big.Float) float64 {
	mantissa := new(big.Float)
	exponent := x.MantExp(mantissa)
	m, _ := mantissa.Float64()
	return math.Log(m) + float64(exponent)*math.Ln2
}

func TestEvidenceIsWhatItsDefinitionSays(t *testing.T) {
	random := seeded(1)
	for range runs(t, 1000, 200) {
		events, others := random.IntN(300), random.IntN(1500)
		share, tolerance := random.Float64(), 1+2*random.Float64()
		p0 := tolerated(share, tolerance)
		if want := share * tolerance / (share*tolerance + 1 - share); math.Abs(p0-want) > 1e-12 {
			t.Fatalf("share %v, tolerance %v: tolerated %v, want %v", share, tolerance, p0, want)
		}
		got := stake(1).after(int64(events), int64(events+others), p0).log()
		want := logOf(naiveEvidence(events, others, p0)) - math.Ln2 // half is bet in the first round
		if math.Abs(got-want) > 1e-9*(1+math.Abs(want)) {
			t.Errorf("%d events, %d others, p0 %v: log E is %v, want %v", events, others, p0, got, want)
		}
	}
}

func TestEvidenceKeepsWithinNumbers(t *testing.T) {
	const many = 1_000_000_000_000
	for _, share := range []float64{0, 1e-9, 0.01, 0.5, 1 - 1e-9, 1} {
		for _, c := range [][2]int64{{0, 0}, {many, many}, {0, many}, {1, many}, {many / 2, many}} {
			w := stake(1).after(c[0], c[1], tolerated(share, 1.5))
			for _, l := range append(w[:], w.log()) {
				if math.IsNaN(l) || math.IsInf(l, 0) {
					t.Errorf("share %v, %d of %d: %v", share, c[0], c[1], w)
				}
			}
			if (share == 0 || share == 1) && w != stake(1) {
				t.Errorf("share %v, %d of %d: there is nothing to compare, and log E is %v", share, c[0], c[1], w.log())
			}
		}
	}
	if w := stake(1).after(3, 100, 0); w != stake(1) {
		t.Error("a test that is off has learnt something")
	}
}

func TestAllThatIsBetIsOne(t *testing.T) {
	sum := 0.0
	for round := 1; round <= 10_000; round++ {
		sum += math.Exp(stake(round).log())
	}
	if sum > 1 || sum < 0.999 {
		t.Errorf("%v is bet in 10,000 rounds", sum)
	}
}

// Betting on odds that are just tolerated is fair: on average, a trial leaves as much as before.
func TestBetsAreFair(t *testing.T) {
	for _, p0 := range []float64{0.001, 0.05, 0.5, 0.9} {
		before := stake(1).after(2, 9, p0)
		mean := p0*math.Exp(before.after(1, 1, p0).log()) + (1-p0)*math.Exp(before.after(0, 1, p0).log())
		if want := math.Exp(before.log()); math.Abs(mean-want) > 1e-12*want {
			t.Errorf("p0 %v: %v becomes %v on average", p0, want, mean)
		}
	}
}

func TestEachTestHasEventsOfItsOwn(t *testing.T) {
	p, none := DefaultPlan(), newEvidence(1)
	for _, c := range []struct {
		name                   string
		worse                  Counts
		exact                  float64
		errors, slower, failed bool // which evidence is stronger than none
	}{
		{"failed", Counts{Requests: 100, Failed: 9, Timed: 100}, 0, true, false, false},
		{"slow", Counts{Requests: 100, Timed: 100, Slow: 9}, 0, false, true, false},
		{"slow, of the few that are timed", Counts{Requests: 100, Timed: 1000, Slow: 9}, 0, false, false, false},
		{"failed while production did not", Counts{Judged: 100, JudgedFailed: 20}, 0, false, false, true},
		{"failed, with a share that is exact", Counts{Requests: 100, Failed: 9, Timed: 100, Slow: 9}, 90, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := Groups{Staging: c.worse, Production: Counts{Requests: 900, Failed: 9, Timed: 900, Slow: 9}}
			tally := Tally{open: g}
			e := none.after(&p, tally.Groups(), c.exact)
			if e.Errors.log() > none.Errors.log() != c.errors || e.Slower.log() > none.Slower.log() != c.slower || e.MaxErrors.log() > none.MaxErrors.log() != c.failed {
				t.Errorf("errors %.2f, slower %.2f, max_errors %.2f", e.Errors.log(), e.Slower.log(), e.MaxErrors.log())
			}
		})
	}
}

func TestGoodAnswersShowThatStagingFailsLess(t *testing.T) {
	for _, c := range []struct {
		failed, judged int64
		most           float64
		want           int64
	}{
		{0, 0, 0.05, 113}, {0, 100, 0.05, 13}, {0, 112, 0.05, 1}, {0, 113, 0.05, 0}, {3, 300, 0.05, 0},
		{6, 300, 0.05, 59}, {0, 0, 0.001, 5736},
	} {
		if got := missing(c.failed, c.judged, c.most, 0.99); got != c.want {
			t.Errorf("%d of %d, at most %v: %d are missing, want %d", c.failed, c.judged, c.most, got, c.want)
		}
	}
}

func BenchmarkEvidence(b *testing.B) {
	b.ReportAllocs()
	p, e := DefaultPlan(), newEvidence(1)
	g := Groups{Staging: Counts{1000, 10, 1000, 10, 1000, 10}, Production: Counts{9000, 90, 9000, 90, 0, 0}}
	for b.Loop() {
		e.after(&p, g, 10)
	}
}
