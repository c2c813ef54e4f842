package proxyos

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durationBounds are the upper bounds of the buckets: the defaults of Prometheus.
var durationBounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// durationHistogram counts durations. It takes a tenth of the memory of a histogram of the
// Prometheus client, and each route has two or more.
type durationHistogram struct {
	buckets [len(durationBounds) + 1]atomic.Uint64 // the last: longer than any bound
	micros  atomic.Uint64                          // the sum, in microseconds
}

// observe counts a duration.
func (h *durationHistogram) observe(d time.Duration) {
	bucket := 0
	for bucket < len(durationBounds) && d > durationBounds[bucket] {
		bucket++
	}
	h.buckets[bucket].Add(1)
	h.micros.Add(uint64(d.Round(time.Microsecond).Microseconds()))
}

// durationCounts is the state of one histogram, or the sum of several.
type durationCounts struct {
	buckets [len(durationBounds) + 1]uint64
	micros  uint64
}

// addTo adds what h has counted.
func (h *durationHistogram) addTo(c durationCounts) durationCounts {
	for i := range h.buckets {
		c.buckets[i] += h.buckets[i].Load()
	}
	c.micros += h.micros.Load()
	return c
}

// metric returns the counts as Prometheus wants them: each bucket includes those before it.
func (c durationCounts) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(durationBounds))
	count := uint64(0)
	for i, bound := range durationBounds {
		count += c.buckets[i]
		cumulative[bound.Seconds()] = count
	}
	count += c.buckets[len(durationBounds)]
	return prometheus.MustNewConstHistogram(desc, count, float64(c.micros)/1e6, cumulative, labels...)
}
