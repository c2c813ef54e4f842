package turns

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func turnsOf(o Order, first uint64, n int) []int {
	var all []int
	for i := range n {
		all = append(all, o.At(first+uint64(i)))
	}
	return all
}

func TestAnOrderRepeatsItsSchedule(t *testing.T) {
	schedule := Schedule([]int{2, 0, 1})
	o := NewOrder(schedule, len(schedule))
	if got, want := turnsOf(o, 0, 7), []int{0, 2, 0, 0, 2, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if o.Len() != 3 || o.IsZero() || !o.IsScheduled() {
		t.Errorf("length %d, zero %v, scheduled %v", o.Len(), o.IsZero(), o.IsScheduled())
	}
}

func TestAnOrderWithoutAScheduleIsRoundRobin(t *testing.T) {
	o := NewOrder(nil, 3)
	if got, want := turnsOf(o, 0, 7), []int{0, 1, 2, 0, 1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if o.Len() != 3 || o.IsZero() || o.IsScheduled() {
		t.Errorf("length %d, zero %v, scheduled %v", o.Len(), o.IsZero(), o.IsScheduled())
	}
	if zero := new(Order); zero.Len() != 0 || !zero.IsZero() {
		t.Error("the zero value is taken for an order")
	}
}

func TestTurnsAreCountedWithoutALimit(t *testing.T) {
	for _, length := range []int{1, 2, 3, 10, 1000, 999983} {
		o := NewOrder(nil, length)
		for _, turn := range []uint64{0, 1 << 32, 1<<53 + 1, math.MaxUint64 - 1, math.MaxUint64} {
			if got, want := o.At(turn), int(turn%uint64(length)); got != want {
				t.Errorf("turn %d of %d: %d, want %d", turn, length, got, want)
			}
		}
	}
}

func BenchmarkOrderAt(b *testing.B) {
	for _, n := range []int{2, 10, 1000} {
		weights := make([]int, n)
		for i := range weights {
			weights[i] = 1 + 8*(i%2)
		}
		schedule := Schedule(weights)
		o := NewOrder(schedule, len(schedule))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			turn := uint64(0)
			for b.Loop() {
				o.At(turn)
				turn++
			}
		})
	}
}
