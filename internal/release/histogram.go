package release

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	shortest = 100 * time.Microsecond // what is shorter counts as that
	longest  = 10 * time.Minute       // what is longer counts as that

	// halving is by how many bits a float64 is shifted to leave its exponent and the first three
	// bits of its fraction: eight buckets for each factor of two.
	halving = 52 - 3
)

var firstBucket = math.Float64bits(float64(shortest)) >> halving

// Histogram counts durations, in eight buckets for each factor of two. The zero value is empty.
// Several goroutines may use it at once.
type Histogram struct {
	buckets [184]atomic.Uint64
}

// Observe counts a duration. One below 100 µs counts as that, and one above 10 min as that.
func (h *Histogram) Observe(d time.Duration) {
	d = min(max(d, shortest), longest)
	h.buckets[math.Float64bits(float64(d))>>halving-firstBucket].Add(1)
}

// Quantile returns the duration that a fraction p of those that were counted do not exceed, and how
// many were counted: 0 and 0 if none were. The duration is too long by an eighth at most.
func (h *Histogram) Quantile(p float64) (quantile time.Duration, count uint64) {
	var counts [len(h.buckets)]uint64
	for i := range h.buckets {
		counts[i] = h.buckets[i].Load()
		count += counts[i]
	}
	if count == 0 {
		return 0, 0
	}
	rank, below := max(uint64(math.Ceil(p*float64(count))), 1), uint64(0)
	for i, n := range counts {
		if below += n; below >= rank {
			return min(time.Duration(math.Float64frombits((firstBucket+uint64(i)+1)<<halving)), longest), count
		}
	}
	return longest, count
}

// Reset forgets what was counted. What is counted meanwhile may be forgotten or not.
func (h *Histogram) Reset() {
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
}
