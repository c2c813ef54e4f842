package proxyos

import (
	"sync/atomic"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releaseRound counts the requests of one round of a release: those that the split, or a client's
// position, decided about while the round was the present one. Each is counted once, for the group
// that was decided, whoever serves it in the end.
type releaseRound struct {
	from                uint64 // the version of the release that began it
	pace                *releasePace
	staging, production releaseCounts
}

// releaseCounts are what a releaseRound counts of one group.
type releaseCounts struct {
	inFlight                      atomic.Int64 // begun, and neither counted nor left out
	requests, failed, timed, slow atomic.Int64
}

func newReleaseRound(from uint64, pace *releasePace) *releaseRound {
	return &releaseRound{from: from, pace: pace}
}

// notTimed is what a request took of which nobody may say that it was slow.
const notTimed time.Duration = -1

// group returns the counts of one of the groups.
func (r *releaseRound) group(toStaging bool) *releaseCounts {
	if toStaging {
		return &r.staging
	}
	return &r.production
}

// begin notes that a request of one of the groups is under way.
func (r *releaseRound) begin(toStaging bool) { r.group(toStaging).inFlight.Add(1) }

// leaveOut leaves a request out that has begun.
func (r *releaseRound) leaveOut(toStaging bool) { r.group(toStaging).inFlight.Add(-1) }

// isSlow tells whether a request has taken longer than most of production's of late.
func (r *releaseRound) isSlow(took time.Duration) bool {
	threshold := r.pace.threshold.Load()
	return threshold > 0 && took > time.Duration(threshold)
}

// count counts a request of one of the groups, which has begun.
func (r *releaseRound) count(toStaging, failed bool, took time.Duration) {
	group := r.group(toStaging)
	group.inFlight.Add(-1)
	group.requests.Add(1)
	if failed {
		group.failed.Add(1)
	}
	if took == notTimed {
		return
	}
	if !toStaging {
		r.pace.durations.Observe(took)
	}
	if threshold := r.pace.threshold.Load(); threshold > 0 {
		group.timed.Add(1)
		if took > time.Duration(threshold) {
			group.slow.Add(1)
		}
	}
}

// total returns what has been counted so far.
func (r *releaseRound) total() release.Groups {
	return release.Groups{Staging: r.staging.total(), Production: r.production.total()}
}

// total reads the counts in the order opposite to that in which they are written, so that no part
// is more than its whole.
func (c *releaseCounts) total() (sum release.Counts) {
	sum.Slow = c.slow.Load()
	sum.Timed = c.timed.Load()
	sum.Failed = c.failed.Load()
	sum.Requests = c.requests.Load()
	return sum
}

// releasePace knows how long production took in the interval before: 95 of 100 of its requests took
// no longer than the threshold. It outlives rounds.
type releasePace struct {
	threshold atomic.Int64 // in nanoseconds; 0: it is not known yet, and nothing is timed
	durations release.Histogram
}

// pacedBy is how many requests of production it takes for a threshold.
const pacedBy = 20

// turn ends an interval, unless production has had too few requests in it: then it goes on.
func (p *releasePace) turn() {
	if p95, requests := p.durations.Quantile(0.95); requests >= pacedBy {
		p.threshold.Store(int64(p95))
		p.durations.Reset()
	}
}
