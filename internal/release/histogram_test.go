package release

import (
	"math"
	"sync"
	"testing"
	"time"
)

func TestQuantilesAreTooLongByAnEighthAtMost(t *testing.T) {
	random := seeded(4)
	for range 2000 {
		d := time.Duration(float64(shortest) * math.Pow(float64(longest)/float64(shortest), random.Float64()))
		var h Histogram
		h.Observe(d)
		if got, n := h.Quantile(0.95); n != 1 || got < d || float64(got) > 1.126*float64(d) {
			t.Fatalf("%v became %v, of %d", d, got, n)
		}
	}
}

func TestQuantiles(t *testing.T) {
	for _, c := range []struct {
		name        string
		fast, slow  int // of 1 ms, and of 1 s
		p           float64
		least, most time.Duration
	}{
		{"none", 0, 0, 0.95, 0, 0},
		{"one", 1, 0, 0.95, time.Millisecond, 1130 * time.Microsecond},
		{"5 % are slow", 95, 5, 0.95, time.Millisecond, 1130 * time.Microsecond},
		{"6 % are", 94, 6, 0.95, time.Second, 1130 * time.Millisecond},
		{"one of ten is", 9, 1, 0.95, time.Second, 1130 * time.Millisecond},
		{"the fastest", 1, 99, 0, time.Millisecond, 1130 * time.Microsecond},
		{"the slowest", 99, 1, 1, time.Second, 1130 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Histogram
			for range c.fast {
				h.Observe(time.Millisecond)
			}
			for range c.slow {
				h.Observe(time.Second)
			}
			if got, n := h.Quantile(c.p); got < c.least || got > c.most || n != uint64(c.fast+c.slow) {
				t.Errorf("%v of %d, want %v to %v", got, n, c.least, c.most)
			}
			if h.Reset(); h != (Histogram{}) {
				t.Error("it remembers something")
			}
		})
	}
}

func TestDurationsOutOfBoundsCountAsTheBounds(t *testing.T) {
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, shortest - 1, shortest} {
		var h Histogram
		h.Observe(d)
		if got, _ := h.Quantile(1); got < shortest || got > 113*time.Microsecond {
			t.Errorf("%v became %v", d, got)
		}
	}
	for _, d := range []time.Duration{longest, longest + 1, math.MaxInt64} {
		var h Histogram
		h.Observe(d)
		if got, _ := h.Quantile(1); got != longest {
			t.Errorf("%v became %v", d, got)
		}
	}
}

func TestDurationsAreCountedAtOnce(t *testing.T) {
	var h Histogram
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 1000 {
				h.Observe(time.Duration(i) * time.Second)
			}
		})
	}
	all.Wait()
	if _, n := h.Quantile(0.5); n != 4000 {
		t.Errorf("counted %d of 4000", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	b.ReportAllocs()
	var h Histogram
	for d := time.Duration(0); b.Loop(); d += time.Microsecond {
		h.Observe(d)
	}
}

func BenchmarkQuantile(b *testing.B) {
	b.ReportAllocs()
	var h Histogram
	h.Observe(time.Second)
	for b.Loop() {
		h.Quantile(0.95)
	}
}
