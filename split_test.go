package proxyos

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
)

// perMille are the shares that the split's properties are tested for, in tenths of a
// percent, so that what is expected of them is exact.
var perMille = []int{0, 1, 100, 333, 500, 999, 1000}

// In addition to those, shares that no binary fraction holds, or hardly any request.
var percents = []float64{0, 0.1, 1, 10, 33.3, 50, 66.6, 90, 99.9, 100, 1.0 / 3, math.Pi, 1e-9, 99.999999999, 0.3, 7}

func TestStagingIsWithinHalfARequestOfItsShareAtEveryPrefix(t *testing.T) {
	for _, percent := range percents {
		t.Run(fmt.Sprintf("%g%%", percent), func(t *testing.T) {
			s := newSplitter(percent)
			staged := 0
			for n := 1; n <= 100_000; n++ {
				if s.toStaging() {
					staged++
				}
				if off := float64(staged) - percent/100*float64(n); math.Abs(off) > 0.5+1e-6 {
					t.Fatalf("of %d requests, staging has had %d, %+f off its share", n, staged, off)
				}
			}
		})
	}
}

// The longest run of requests that go to staging is the shortest possible one.
//
// Why: of n requests, let s·n go to staging and p·n = (1−s)·n to production. The
// latter cut the former into at most p·n + 1 runs, so their mean length is no less than
// s·n/(p·n + 1), which tends to s/p as n grows. The longest of them is a whole number not
// below that: at least ⌈s/p⌉. For s ≤ 1/2 this is 1: no two in a row. The same holds for
// production with s and p swapped.
func TestLongestRunsAreTheShortestPossible(t *testing.T) {
	for _, share := range append(perMille, 10, 250, 600, 666, 750, 900, 990) {
		t.Run(fmt.Sprintf("%g%%", float64(share)/10), func(t *testing.T) {
			s := newSplitter(float64(share) / 10)
			const n = 100_000
			longest := map[bool]int{}
			run, last := 0, false
			for range n {
				if toStaging := s.toStaging(); toStaging == last {
					run++
				} else {
					run, last = 1, toStaging
				}
				longest[last] = max(longest[last], run)
			}
			least := func(s, p int) int {
				if p == 0 {
					return n // there is nothing to cut the run
				}
				return (s + p - 1) / p
			}
			if want := least(share, 1000-share); longest[true] != want {
				t.Errorf("staging gets %d requests in a row, want %d", longest[true], want)
			}
			if want := least(1000-share, share); longest[false] != want {
				t.Errorf("production gets %d requests in a row, want %d", longest[false], want)
			}
		})
	}
}

func TestZeroAndAHundredPercentAreExact(t *testing.T) {
	for percent, want := range map[float64]bool{0: false, math.Copysign(0, -1): false, 100: true} {
		s := newSplitter(percent)
		for n := range 10_000 {
			if s.toStaging() != want {
				t.Fatalf("%g %%: request %d goes to staging: %v", percent, n, !want)
			}
		}
	}
}

func TestFirstStagingRequestComesHalfWayThroughTheFirstCycle(t *testing.T) {
	s := newSplitter(10)
	for n := 1; ; n++ {
		if s.toStaging() {
			if n != 5 {
				t.Errorf("it is request %d, want 5", n)
			}
			return
		}
	}
}

// Racing requests are counted once they are decided. At any moment the others that are
// decided and not counted yet are fewer than the workers.
func TestStagingIsWithinTheNumberOfWorkersOfItsShareWhenTheyRace(t *testing.T) {
	const workers, each = 16, 10_000
	for _, percent := range percents {
		t.Run(fmt.Sprintf("%g%%", percent), func(t *testing.T) {
			s := newSplitter(percent)
			var counted atomic.Uint64 // requests, and those of staging in the upper half
			var worst [workers]float64
			var wait sync.WaitGroup
			for worker := range workers {
				wait.Go(func() {
					for range each {
						one := uint64(1)
						if s.toStaging() {
							one += 1 << 32
						}
						now := counted.Add(one)
						off := float64(now>>32) - percent/100*float64(now&math.MaxUint32)
						worst[worker] = max(worst[worker], math.Abs(off))
					}
				})
			}
			wait.Wait()
			for _, off := range worst {
				if off > workers {
					t.Errorf("at some moment staging was %f off its share, of %d workers", off, workers)
				}
			}
			staged, want := float64(counted.Load()>>32), percent/100*workers*each
			if math.Abs(staged-want) > 0.5+1e-6 {
				t.Errorf("in the end staging has had %v, want %v", staged, want)
			}
		})
	}
}

func TestAChangedShareAppliesFromTheNextRequestOn(t *testing.T) {
	s := newSplitter(10)
	for range 1000 {
		s.toStaging()
	}
	for _, percent := range []float64{100, 0, 50, 99.9, 1} {
		s.state.put(&override{share: newShare(percent), TrafficSplit: percent, Against: 10})
		if got := s.current().percent; got != percent {
			t.Fatalf("%g %% applies, want %g %%", got, percent)
		}
		staged := 0
		for n := 1; n <= 10_000; n++ {
			if s.toStaging() {
				staged++
			}
			// the phase is where the old share left it: up to one request off
			if off := math.Abs(float64(staged) - percent/100*float64(n)); off > 1+1e-6 {
				t.Fatalf("%g %%: of %d requests staging has had %d", percent, n, staged)
			}
		}
	}
}

func TestAnOverrideOfAnotherConfiguredShareIsNotInForce(t *testing.T) {
	s := newSplitter(10)
	s.state.put(&override{share: newShare(100), Against: 20})
	if got := s.current().percent; got != 10 {
		t.Errorf("%g %% applies, want 10 %%", got)
	}
}

func TestPercentages(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "0%": 0, "10": 10, "10%": 10, "0.1": 0.1, "33.3%": 33.3, ".5": 0.5, "5.": 5, "+5": 5, "-0": 0, "100": 100, "100.0%": 100, "007": 7,
	} {
		if got, err := parsePercent(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	const (
		outside = ` is outside 0 to 100; write the percentage of requests for staging`
		none    = ` is not a percentage; write a number from 0 to 100, such as 10 or 0.5%`
	)
	for text, want := range map[string]string{
		"-1": outside, "101": outside, "100.0001%": outside, "-0.1%": outside, "99999999999": outside,
		"": none, "%": none, "ten": none, "NaN": none, "nan%": none, "Inf": none, "-Inf": none, "1e1": none, "0x10": none, "1_0": none,
		"10%%": none, "10 %": none, "1,5": none, "1/2": none, "5-5": none, "٣": none,
	} {
		got, err := parsePercent(text)
		if err == nil {
			t.Errorf("%q is accepted as %v", text, got)
		} else if want := fmt.Sprintf("%q%s", text, want); err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
	}
}

func FuzzParsePercent(f *testing.F) {
	for _, seed := range []string{"", "10", "10%", "NaN", "-1", "1e9", "0x1p1", "Inf", "100.0", "%%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		percent, err := parsePercent(text)
		if err == nil && !(percent >= 0 && percent <= 100) {
			t.Errorf("%q is %v", text, percent)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	for _, percent := range []float64{0, 10, 100} {
		b.Run(fmt.Sprintf("%g%%", percent), func(b *testing.B) {
			s := newSplitter(percent)
			b.ReportAllocs()
			for b.Loop() {
				s.toStaging()
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		s := newSplitter(10)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s.toStaging()
			}
		})
	})
}
