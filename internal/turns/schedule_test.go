package turns

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestScheduleIsExactOverACycleAndWithinOneTurnAtEveryPrefix(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	weights := func(n, highest int) []int {
		w := make([]int, n)
		for i := range w {
			w[i] = random.IntN(highest + 1)
		}
		w[0] = highest
		return w
	}
	cases := [][]int{
		{1}, {7}, {1, 1}, {0, 1}, {5, 3, 2}, {9, 1}, {1, 1000}, {1000, 999, 998},
		{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {100, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
		{10, 20, 30}, {1000, 0, 0, 1}, weights(10, 1000), weights(100, 50), weights(1000, 1000),
	}
	for range 200 {
		cases = append(cases, weights(1+random.IntN(12), 30))
	}
	for _, weights := range cases {
		t.Run(fmt.Sprint(len(weights), weights[0]), func(t *testing.T) {
			schedule := Schedule(weights)
			total := 0
			for _, w := range weights {
				total += w
			}
			divisor := total / len(schedule)
			taken := make([]int, len(weights))
			for slot, upstream := range schedule {
				taken[upstream]++
				if len(weights) > 100 && slot%97 != 0 {
					continue // a sample of the prefixes keeps the quadratic check short
				}
				for i, w := range weights {
					if off := taken[i]*total - w*(slot+1); off <= -total || off >= total {
						t.Fatalf("weights %v: after %d turns upstream %d has had %d, its share is %.3f",
							weights, slot+1, i, taken[i], float64(w*(slot+1))/float64(total))
					}
				}
			}
			for i, w := range weights {
				if taken[i]*divisor != w {
					t.Fatalf("weights %v: over a cycle upstream %d has had %d turns, want %d", weights, i, taken[i], w/divisor)
				}
			}
		})
	}
}

func TestScheduleOfEqualWeightsIsRoundRobin(t *testing.T) {
	if got, want := Schedule([]int{4, 4, 4}), []uint32{0, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestScheduleOfNothingIsEmpty(t *testing.T) {
	if got := Schedule([]int{0, 0}); len(got) != 0 {
		t.Errorf("got %v, want nothing", got)
	}
}

func BenchmarkSchedule(b *testing.B) {
	for _, n := range []int{2, 1000} {
		weights := make([]int, n)
		for i := range weights {
			weights[i] = 1 + i*7%1000
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Schedule(weights)
			}
		})
	}
}
