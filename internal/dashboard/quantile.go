package dashboard

import "time"

// buckets counts requests by how long they took, as Group.Durations does.
type buckets [len(Bounds) + 1]uint64

func (b *buckets) add(other *buckets) {
	for i, n := range other {
		b[i] += n
	}
}

// quantile returns the duration that a share q of the requests does not exceed, and whether there
// are any requests. It takes those of a bucket to be spread evenly from its lower bound, which is 0
// for the first, to its upper one, as Prometheus's histogram_quantile does. Like that, it returns the
// largest bound if the quantile is above it.
func (b *buckets) quantile(q float64) (time.Duration, bool) {
	var all uint64
	for _, n := range b {
		all += n
	}
	if all == 0 {
		return 0, false
	}
	rank, below, lower := q*float64(all), 0.0, time.Duration(0)
	for i, upper := range Bounds {
		n := float64(b[i])
		if n > 0 && below+n >= rank {
			return lower + time.Duration(float64(upper-lower)*(rank-below)/n), true
		}
		below, lower = below+n, upper
	}
	return lower, true
}
