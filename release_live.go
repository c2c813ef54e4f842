package proxyos

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// paceInterval is over how long production's 95th percentile is taken.
const paceInterval = 10 * time.Second

// liveRelease is what this process knows of the release of a route, and what it counts for it. The
// configs that have the route share it during a reload.
type liveRelease struct {
	mu       sync.Mutex
	state    *release.State // as stored
	pace     *releasePace
	tally    release.Tally    // of the present round, in this process
	counted  release.Groups   // by requests in the present round, up to the last tick
	earlier  release.Groups   // in the round, on this instance, before this process
	isKnown  bool             // what was counted earlier
	others   []releaseTally   // of the other instances, as last read
	told     releaseTally     // what this instance last wrote
	decision release.Decision // the latest
	paced    time.Time        // when production's 95th percentile was last taken
	answered time.Time        // when staging last answered, or had nothing to answer
	tookPart bool             // this process has had the release configured while it went on

	concluding atomic.Bool // a change of the release is being written
	isRefused  atomic.Bool // the storage does not take it, and that is logged
}

// releaseNews is a change of a release.
type releaseNews struct{ was, now *release.State }

// isNews tells whether a change of a release concerns anybody: not one of how it counts, and not
// what a process finds when it starts.
func (n releaseNews) isNews() bool {
	if n.now == nil || n.was != nil && n.was.Version == n.now.Version && n.was.StartedAt.Equal(n.now.StartedAt) {
		return false
	}
	return n.was == nil || !n.was.StartedAt.Equal(n.now.StartedAt) || n.was.Phase != n.now.Phase || n.was.Step != n.now.Step ||
		n.was.Asked != n.now.Asked || !slices.Equal(n.was.Approved, n.now.Approved)
}

// follow has the route follow the release that is stored for it; nil if there is none. It
// returns what has changed.
func (s *routeState) follow(stored *release.State) releaseNews {
	live := s.live.Load()
	if stored == nil && live == nil {
		return releaseNews{}
	}
	if live == nil {
		s.live.CompareAndSwap(nil, new(liveRelease))
		live = s.live.Load()
	}
	live.mu.Lock()
	defer live.mu.Unlock()
	before := live.state
	live.state = stored
	if stored == nil || !stored.IsActive() {
		s.release.Store(nil)
		s.shuffle.Store(nil)
		return releaseNews{before, stored}
	}
	isSameRelease := before != nil && before.IsActive() && before.StartedAt.Equal(stored.StartedAt)
	live.tookPart = live.tookPart && isSameRelease
	if !isSameRelease || before.CountsFrom != stored.CountsFrom {
		live.beginRound(stored, before != nil)
		s.release.Store(newReleaseRound(stored.CountsFrom, live.pace))
	}
	if !isSameRelease || before.Step != stored.Step {
		s.shuffle.Store(newShuffle(rand.Uint64()))
	}
	return releaseNews{before, stored}
}

// beginRound begins to count for the present round. Only a process that has just started may have
// counted for it before.
func (l *liveRelease) beginRound(s *release.State, isKnown bool) {
	if l.pace == nil {
		l.pace = new(releasePace)
	}
	l.tally.MaxErrors = s.Plan.MaxErrors
	l.tally.Begin()
	l.counted, l.earlier, l.isKnown, l.answered = release.Groups{}, release.Groups{}, isKnown, time.Now()
}

// tick counts what has happened in the round since the last tick, and decides what is to be done
// about the release. It is not active if there is nothing to decide.
func (l *liveRelease) tick(round *releaseRound, plan release.Plan, exact, alone bool, now time.Time) (d release.Decision, isActive bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil || !l.state.IsActive() || round == nil || round.from != l.state.CountsFrom { // it has just changed
		return release.Decision{}, false
	}
	if now.Sub(l.paced) >= paceInterval || l.pace.threshold.Load() == 0 { // at once, as soon as it can be known
		l.pace.turn()
		l.paced = now
	}
	total := round.total()
	since := release.Groups{Staging: total.Staging.Sub(l.counted.Staging), Production: total.Production.Sub(l.counted.Production)}
	l.counted = total
	l.tally.Tick(since, alone)

	if since.Staging.Requests > 0 || round.staging.inFlight.Load() <= 0 {
		l.answered = now
	}
	l.decision = release.Decide(l.state.Following(plan), l.seen(exact, now), now)
	return l.decision, true
}

// seen returns what is known of the round.
func (l *liveRelease) seen(exact bool, now time.Time) release.Seen {
	seen := release.Seen{Counts: l.allCounts(), ProductionFails: l.tally.ProductionFails(), Unanswered: now.Sub(l.answered)}
	for _, other := range l.others {
		if other.belongsTo(l.state) {
			seen.ProductionFails = seen.ProductionFails || other.ProductionFails && now.Sub(other.At).Abs() < silentAfter
		}
	}
	if exact {
		seen.Exact = l.state.Percent()
	}
	return seen
}

// allCounts returns what all instances have counted in the round.
func (l *liveRelease) allCounts() release.Groups {
	counts := l.ownCounts()
	for _, other := range l.others {
		if other.belongsTo(l.state) {
			counts = counts.Add(other.Counts)
		}
	}
	return counts
}

// hasRelease tells whether this process has, or has had, the release in its configuration while it
// went on.
func (l *liveRelease) hasRelease(isConfigured bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tookPart = l.tookPart || isConfigured
	return l.tookPart
}

// ownCounts returns what this instance has counted in the round.
func (l *liveRelease) ownCounts() release.Groups { return l.earlier.Add(l.tally.Groups()) }

// assess returns the release as it is stored, what has been counted on its present step, and what
// would be decided now by a plan; nil if there is no release.
func (s *routeState) assess(plan release.Plan, exact bool, now time.Time) (*release.State, release.Groups, release.Decision) {
	live := s.live.Load()
	if live == nil {
		return nil, release.Groups{}, release.Decision{}
	}
	live.mu.Lock()
	defer live.mu.Unlock()
	if live.state == nil || !live.state.IsActive() {
		return live.state, release.Groups{}, release.Decision{}
	}
	seen := live.seen(exact, now)
	return live.state, live.state.Counted.Add(seen.Counts), release.Decide(live.state.Following(plan), seen, now)
}

// latestRelease returns the release as it is stored, and what was decided last; nil if there was none.
func (s *routeState) latestRelease() (*release.State, release.Decision) {
	live := s.live.Load()
	if live == nil {
		return nil, release.Decision{}
	}
	live.mu.Lock()
	defer live.mu.Unlock()
	if live.state == nil || live.decision.Version != live.state.Version {
		return live.state, release.Decision{}
	}
	return live.state, live.decision
}
