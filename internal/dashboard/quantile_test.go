package dashboard

import (
	"testing"
	"time"
)

func TestQuantilesAreInterpolated(t *testing.T) {
	for _, c := range []struct {
		claim  string
		counts buckets
		q      float64
		want   time.Duration
		ok     bool
	}{
		{"of no requests there is none", buckets{}, 0.5, 0, false},
		{"the first bucket begins at 0", buckets{10}, 0.5, 2500 * time.Microsecond, true},
		{"the end of a bucket is its bound", buckets{10}, 1, 5 * time.Millisecond, true},
		{"a later one begins at the bound before", buckets{0, 10}, 0.5, 7500 * time.Microsecond, true},
		{"the half may be at a bound", buckets{10, 10}, 0.5, 5 * time.Millisecond, true},
		{"empty ones are skipped", buckets{1, 0, 0, 1}, 0.75, 37500 * time.Microsecond, true},
		{"p99 of 100 of which one is slow", buckets{99, 0, 0, 0, 0, 0, 0, 1}, 0.99, 5 * time.Millisecond, true},
		{"above all bounds it is the largest", buckets{11: 3}, 0.5, 10 * time.Second, true},
		{"and also if only the quantile is above", buckets{1, 11: 3}, 0.95, 10 * time.Second, true},
		{"the smallest is the lower bound", buckets{0, 0, 4}, 0, 10 * time.Millisecond, true},
	} {
		got, ok := c.counts.quantile(c.q)
		if got.Round(time.Microsecond) != c.want || ok != c.ok {
			t.Errorf("%s: %v, %t, want %v, %t", c.claim, got, ok, c.want, c.ok)
		}
	}
}
