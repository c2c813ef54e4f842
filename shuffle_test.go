package proxyos

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// shuffledPercents are shares with blocks of all kinds: of few turns or of many, of which every
// one is as long as the others or not, and with either group the smaller one.
var shuffledPercents = []float64{
	0.01, 0.1, 0.3, 1, 2, 3, 5, 7, 10, 12.5, 20, 25, 30, 100.0 / 3, 33.3, 40, 45, 49.9, 49.999999, 50, 50.000001, 50.1,
	55, 60, 200.0 / 3, 66.6, 75, 80, 90, 95, 99, 99.9, 99.99, math.Pi, 1e-9, 99.999999999,
}

func shuffled(percent float64, seed uint64) (next func() bool) {
	share, s := newShare(percent), newShuffle(seed)
	return func() bool { return s.toStaging(&share) }
}

func TestShuffledTurnsAreLessThanOneRequestOffTheirShareAtEveryPrefix(t *testing.T) {
	for _, percent := range shuffledPercents {
		t.Run(fmt.Sprintf("%g%%", percent), func(t *testing.T) {
			for seed := range uint64(5) {
				next, staged := shuffled(percent, seed), 0
				for n := 1; n <= 50_000; n++ {
					if next() {
						staged++
					}
					if off := float64(staged) - percent/100*float64(n); math.Abs(off) > 1+1e-6 {
						t.Fatalf("of %d requests, staging has had %d, %+f off its share", n, staged, off)
					}
				}
			}
		})
	}
}

func TestTheSmallerGroupHasHadItsShareRoundedUpOrDown(t *testing.T) {
	for _, percent := range shuffledPercents {
		t.Run(fmt.Sprintf("%g%%", percent), func(t *testing.T) {
			next, share, few, smaller := shuffled(percent, 1), newShare(percent), uint64(0), percent <= 50
			step := share.step
			if !smaller {
				step = -step
			}
			for n := uint64(1); n <= 50_000; n++ {
				if next() == smaller {
					few++
				}
				down, rest := bits.Mul64(n, step)
				if few != down && (few != down+1 || rest == 0) {
					t.Fatalf("of %d requests the smaller group has had %d, want %d, or one more if that is rounded", n, few, down)
				}
			}
		})
	}
}

func TestSharesOfWholeRequestsAreExactAfterEachCycle(t *testing.T) {
	for percent, cycle := range map[float64]int{0.1: 1000, 1: 100, 5: 20, 10: 10, 20: 5, 25: 4, 50: 2, 75: 4, 80: 5, 90: 10, 99: 100} {
		next, staged := shuffled(percent, 7), 0
		for n := 1; n <= 100*cycle; n++ {
			if next() {
				staged++
			}
			if want := int(math.Round(percent / 100 * float64(n))); n%cycle == 0 && staged != want {
				t.Fatalf("%g %%: of %d requests staging has had %d, want %d", percent, n, staged, want)
			}
		}
	}
}

// Turn i goes from i·step to (i+1)·step, and block k from k·2⁶⁴ to (k+1)·2⁶⁴.
func TestBlocksAreWhatExactArithmeticSays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	number := func(n uint64) *big.Int { return new(big.Int).SetUint64(n) }
	for range 100_000 {
		turn, step := random.Uint64()>>random.IntN(64), max(random.Uint64()>>(1+random.IntN(62)), 2)
		k, past := bits.Mul64(turn, step)
		blocks := []turnBlock{newBlock(k, past%step, step)}
		if blocks[0].after > 0 {
			blocks = append(blocks, blocks[0].next())
		}
		for _, b := range blocks {
			from := new(big.Int).Lsh(number(b.number), 64)
			to := new(big.Int).Lsh(new(big.Int).Add(number(b.number), big.NewInt(1)), 64)
			first, before := new(big.Int).DivMod(new(big.Int).Add(from, number(step-1)), number(step), new(big.Int)) // that begins in it
			before.Sub(number(step-1), before)
			last, after := new(big.Int).DivMod(to, number(step), new(big.Int)) // that does not end in it
			if want := (turnBlock{b.number, step, before.Uint64(), after.Uint64(), last.Sub(last, first).Uint64()}); b != want {
				t.Fatalf("turn %d, step %d: %+v, want %+v", turn, step, b, want)
			}
		}
	}
}

// Of blocks as long as whole turns, each place is chosen as often as the others: by chi-squared, with
// five standard deviations' room.
func TestEachPlaceInABlockIsChosenAsOften(t *testing.T) {
	const blocks = 20_000
	for percent, length := range map[float64]int{1: 100, 5: 20, 10: 10, 20: 5, 25: 4, 50: 2, 75: 4, 90: 10, 99: 100} {
		next, counts, off := shuffled(percent, 3), make([]float64, length), 0.0
		for turn := range blocks * length {
			if next() == (percent <= 50) {
				counts[turn%length]++
			}
		}
		expected := float64(blocks) / float64(length)
		for _, n := range counts {
			off += (n - expected) * (n - expected) / expected
		}
		if degrees := float64(length - 1); off > degrees+5*math.Sqrt(2*degrees) {
			t.Errorf("%g %%: chi-squared of the %d places is %.1f", percent, length, off)
		}
	}
}

// In a cycle of ten, all the requests of one kind would be staging's at 10 %, and none of another.
func TestAClientInCyclesIsDividedAsAnyOther(t *testing.T) {
	const each = 5_000
	far := func(percent float64, period int, next func() bool) (worst float64) { // in standard deviations
		staged := make([]int, period)
		for n := range each * period {
			if next() {
				staged[n%period]++
			}
		}
		p := percent / 100
		for _, n := range staged {
			worst = max(worst, math.Abs(float64(n)-p*each)/math.Sqrt(each*p*(1-p)))
		}
		return worst
	}
	for _, percent := range []float64{1, 5, 10, 25, 30, 33.3, 40, 45, 50, 60, 66.6, 70, 90, 99} {
		for _, period := range []int{2, 3, 5, 7, 10, 20, 100} {
			if off := far(percent, period, shuffled(percent, 11)); off > 5 {
				t.Errorf("%g %% in cycles of %d: %.1f standard deviations off", percent, period, off)
			}
		}
	}
	if off := far(10, 10, newSplitter(10).toStaging); off < 5 {
		t.Errorf("the test finds nothing in turns that come every tenth time: %.1f standard deviations", off)
	}
}

func TestEachSeedHasAnOrderOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(1000) {
		next := shuffled(10, seed)
		order := make([]byte, 500)
		for n := range order {
			if next() {
				order[n] = 1
			}
		}
		if seen[string(order)] {
			t.Fatalf("the order of seed %d is that of another", seed)
		}
		seen[string(order)] = true
	}
}

func TestRacingTurnsAreExactInTheEnd(t *testing.T) {
	const workers, each = 16, 10_000
	for _, percent := range shuffledPercents {
		share, s := newShare(percent), newShuffle(5)
		var staged atomic.Int64
		var wait sync.WaitGroup
		for range workers {
			wait.Go(func() {
				for range each {
					if s.toStaging(&share) {
						staged.Add(1)
					}
				}
			})
		}
		wait.Wait()
		if off := float64(staged.Load()) - percent/100*workers*each; math.Abs(off) > 1+1e-6 {
			t.Errorf("%g %%: of %d requests staging has had %d, %+f off", percent, workers*each, staged.Load(), off)
		}
	}
}

func TestAShareOfNextToNothingIsNoMistake(t *testing.T) {
	for percent, want := range map[float64]bool{1e-300: false, 1e-18: false, math.Nextafter(100, 0): true} {
		next, others := shuffled(percent, 1), 0
		for range 10_000 {
			if next() != want {
				others++
			}
		}
		if others > 1 {
			t.Errorf("%g %%: %d requests go to the other group", percent, others)
		}
	}
}

func TestAShuffleTakesTheTurnsOfASplitForAsLongAsItIsThere(t *testing.T) {
	turns := func(s *splitter, n int) (order []bool) {
		for range n {
			order = append(order, s.toStaging())
		}
		return order
	}
	plain := newSplitter(10)
	s := newSplitter(10)
	if !slices.Equal(turns(s, 25), turns(plain, 25)) {
		t.Fatal("two splitters differ")
	}
	s.shared.shuffle.Store(newShuffle(2))
	if want := shuffled(10, 2); !slices.EqualFunc(turns(s, 100), make([]struct{}, 100), func(got bool, _ struct{}) bool { return got == want() }) {
		t.Error("the shuffle does not take the turns")
	}
	for percent, want := range map[float64]bool{0: false, 100: true} {
		s.state.put(&override{share: newShare(percent), TrafficSplit: percent, Against: 10})
		if slices.Contains(turns(s, 100), !want) {
			t.Errorf("%g %% is not exact with a shuffle", percent)
		}
	}
	if taken := s.shared.shuffle.Load().turns.Load(); taken != 100 {
		t.Errorf("the shuffle has taken %d turns, want 100: where nothing is split there is nothing to shuffle", taken)
	}
	s.state.put(nil)
	s.shared.shuffle.Store(nil)
	if !slices.Equal(turns(s, 100), turns(plain, 100)) {
		t.Error("the splitter does not go on where it was")
	}
}

func BenchmarkShuffle(b *testing.B) {
	for _, percent := range []float64{0.01, 10, 33.3, 90} {
		b.Run(fmt.Sprintf("%g%%", percent), func(b *testing.B) {
			s := newSplitter(percent)
			s.shared.shuffle.Store(newShuffle(1))
			b.ReportAllocs()
			for b.Loop() {
				s.toStaging()
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		s := newSplitter(10)
		s.shared.shuffle.Store(newShuffle(1))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s.toStaging()
			}
		})
	})
}
