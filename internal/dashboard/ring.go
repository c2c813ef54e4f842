package dashboard

import (
	"math"
	"time"
)

const (
	remembered    = 900 // seconds of samples: 15 minutes
	quantileRange = 30  // seconds that quantiles are over
	rateRange     = 10  // seconds that rates are over
)

// sample is one second of a group. Its quantiles are those of the seconds up to it.
type sample struct {
	requests, errors, inFlight uint32
	quantiles                  [3]uint32 // microseconds; 0 if there were no requests
}

// quantilesShown are p50, p95 and p99.
var quantilesShown = [...]float64{0.5, 0.95, 0.99}

// ring is what is remembered of a group, by the number of the second: 23 KB.
type ring struct {
	samples [remembered]sample
	recent  [quantileRange][len(buckets{})]uint32
}

// clear forgets a second that is to be used again.
func (r *ring) clear(second int64) {
	r.samples[second%remembered] = sample{}
	r.recent[second%quantileRange] = [len(buckets{})]uint32{}
}

// add adds a second's part of what was counted.
func (r *ring) add(second int64, c *counts) {
	s := &r.samples[second%remembered]
	s.requests = narrow(uint64(s.requests) + c.requests)
	s.errors = narrow(uint64(s.errors) + c.errors)
	recent := &r.recent[second%quantileRange]
	for i, n := range c.durations {
		recent[i] = narrow(uint64(recent[i]) + n)
	}
}

// window adds up how long requests took in the seconds up to one.
func (r *ring) window(second, seconds int64) (sum buckets) {
	for s := second - min(seconds, quantileRange) + 1; s <= second; s++ {
		for i, n := range r.recent[s%quantileRange] {
			sum[i] += uint64(n)
		}
	}
	return sum
}

// narrow keeps what would not fit from starting again at 0.
func narrow(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// counts is what a group has counted, or has counted in a while.
type counts struct {
	requests, errors uint64
	durations        buckets
}

func countsOf(g *Group) *counts {
	c := &counts{requests: g.Requests, errors: g.Errors}
	copy(c.durations[:], g.Durations)
	return c
}

// since returns what was counted since before; false if a count has gone back, so they began again.
func (c *counts) since(before *counts) (*counts, bool) {
	d := &counts{requests: c.requests - before.requests, errors: c.errors - before.errors}
	ok := c.requests >= before.requests && c.errors >= before.errors
	for i, n := range c.durations {
		d.durations[i] = n - before.durations[i]
		ok = ok && n >= before.durations[i]
	}
	return d, ok
}

// isZero tells whether nothing was counted.
func (c *counts) isZero() bool { return *c == counts{} }

// part is part for counts.
func (c *counts) part(i, n int64) *counts {
	cut := func(all uint64) uint64 { return part(all, i, n) }
	p := &counts{requests: cut(c.requests), errors: cut(c.errors)}
	for k, all := range c.durations {
		p.durations[k] = cut(all)
	}
	return p
}

// part returns the i-th of n parts of a number that are as equal as they can be, and add up to it.
func part(all uint64, i, n int64) uint64 {
	all = min(all, math.MaxUint64/remembered)
	return all*uint64(i+1)/uint64(n) - all*uint64(i)/uint64(n)
}

// microseconds is a duration as it is kept in a sample.
func microseconds(d time.Duration) uint32 { return narrow(uint64(max(d.Microseconds(), 0))) }
