// Package latency remembers how long servers take to answer, and tells which of two is to be
// asked next: the one that would answer sooner, going by what it took of late and by the requests
// that it has in flight. It has no clock of its own.
package latency

import (
	"math"
	"sync/atomic"
	"time"
)

// Moment is a point in time, in decay times since a beginning. All that are compared must have
// the same beginning.
type Moment float64

// Peak is an average of durations that goes up at once: one above it replaces it. One below it
// takes it down by an eighth of the difference, so that it takes some twenty of them to forget one
// that was long. It also decays with time: after one decay time, 1/e of it is left, which is 37 %.
// The zero value has been shown no duration. Several goroutines may use it at once.
//
// It is kept as one number: the logarithm of the value at the beginning of time, as if it had
// decayed since then, too. As all values decay at the same rate, the larger of two stays the
// larger, so they can be compared without knowing the time.
type Peak struct{ bits atomic.Uint64 } // 0: none

// weight is how much of the difference a shorter duration takes away.
const weight = 1.0 / 8

// Show shows a duration. One below a nanosecond counts as a nanosecond.
func (p *Peak) Show(d time.Duration, at Moment) { p.show(d, at, weight) }

// Raise shows a duration that only counts if it is above the average.
func (p *Peak) Raise(d time.Duration, at Moment) { p.show(d, at, 0) }

func (p *Peak) show(d time.Duration, at Moment, weight float64) {
	shown := math.Log(float64(max(d, 1))) + float64(at)
	for {
		last, next := p.bits.Load(), shown
		if level := math.Float64frombits(last); last != 0 && level >= shown {
			if weight == 0 || level == shown {
				return
			}
			next = level + math.Log1p(weight*math.Expm1(shown-level))
		}
		if p.bits.CompareAndSwap(last, max(math.Float64bits(next), 1)) { // next to 0, where it is that
			return
		}
	}
}

// IsKnown tells whether it has been shown anything.
func (p *Peak) IsKnown() bool { return p.bits.Load() != 0 }

// Value returns what is left of the average; 0 if it has been shown nothing, or less than a
// nanosecond is left.
func (p *Peak) Value(at Moment) time.Duration {
	if !p.IsKnown() {
		return 0
	}
	return time.Duration(math.Exp(p.level() - float64(at)))
}

func (p *Peak) level() float64 { return math.Float64frombits(p.bits.Load()) }

// Server is what is remembered of one server. The zero value is one that was never measured.
type Server struct {
	peak     Peak
	asked    atomic.Uint64 // when it was first asked, as bits of a Moment, while nothing is known of it; 0: not yet
	failures atomic.Int32  // since the last good answer
}

// IsKnown tells whether anything is known of the server.
func (s *Server) IsKnown() bool { return s.peak.IsKnown() }

// Ask notes that the server is asked. It only matters while nothing is known of it.
func (s *Server) Ask(at Moment) {
	s.asked.CompareAndSwap(0, max(math.Float64bits(float64(at)), 1)) // next to 0, where it is that
}

// Value returns the time to answer that is remembered of the server; 0 if it is not known.
func (s *Server) Value(at Moment) time.Duration { return s.peak.Value(at) }

// IsFailing tells whether the server has failed several times in a row, and not answered well since.
func (s *Server) IsFailing() bool { return s.failures.Load() >= failuresInRow }

const (
	// failureFactor is how many times as long as before a server counts after a failure, but at
	// most how many times as long as the slowest answer of late of any server. It must be above 1,
	// or failing fast would pay. One failure among many answers leaves a server a part of its
	// requests, and each further one takes more.
	failureFactor = 5

	// firstFailure is how long a failure counts where no server of the group has answered well yet.
	firstFailure = time.Second

	// failuresInRow is how many failures in a row make a server one that is failing.
	failuresInRow = 3
)

// Group is what servers that share the work have in common.
type Group struct {
	Decay time.Duration // after which 1/e of a time is left; above 0

	slowest Peak // of the good answers
}

// At returns the moment that is elapsed after the beginning.
func (g *Group) At(elapsed time.Duration) Moment { return Moment(float64(elapsed) / float64(g.Decay)) }

// Answered notes that a server has answered well, and how long that took.
func (g *Group) Answered(s *Server, took time.Duration, at Moment) {
	if s.failures.Load() != 0 { // which is rare, and read by all
		s.failures.Store(0)
	}
	s.peak.Show(took, at)
	g.slowest.Raise(took, at)
}

// Failed notes that a server has failed, and how long that took.
func (g *Group) Failed(s *Server, took time.Duration, at Moment) {
	s.failures.Add(1)
	penalty := firstFailure
	if slowest := g.slowest.Value(at); g.slowest.IsKnown() {
		penalty = failureFactor * slowest
		if s.peak.IsKnown() {
			penalty = failureFactor * min(max(s.peak.Value(at), took), slowest)
		}
	}
	s.peak.Raise(max(took, penalty), at)
}

// GivenUp notes that nobody has waited for a server's answer any longer, and how long they had.
// The answer would have taken longer still.
func (*Group) GivenUp(s *Server, took time.Duration, at Moment) { s.peak.Raise(took, at) }

// Untold notes that a request to a server has ended in a way that tells nothing of the server.
func (*Group) Untold(s *Server) { s.asked.Store(0) }

// Choice is a server that may be asked.
type Choice struct {
	Server   *Server
	InFlight int // how many requests it has not answered to the end
}

// Prefers tells whether a is to be asked rather than b: the one for which the time to answer,
// times the requests in flight with the new one, is less. The moment only matters if nothing is
// known of one of them.
//
// A server of which nothing is known counts as fast as the other one, and before it if both have
// the same number in flight: so it is tried early, but not by all at once. While the first answer
// is out, it counts as taking as long as that has taken so far, at least. A server that is failing
// counts as having as many in flight as the other one, at least. It may have few only since it
// fails fast.
func (g *Group) Prefers(a, b Choice, at Moment) bool {
	switch failing := a.Server.IsFailing(); {
	case failing == b.Server.IsFailing():
	case failing:
		a.InFlight = max(a.InFlight, b.InFlight)
	default:
		b.InFlight = max(b.InFlight, a.InFlight)
	}
	known, otherKnown := a.Server.IsKnown(), b.Server.IsKnown()
	if !known && !otherKnown {
		return a.InFlight <= b.InFlight
	}
	level, otherLevel := a.Server.peak.level(), b.Server.peak.level()
	switch {
	case !known:
		level = max(g.out(a, at), otherLevel)
	case !otherKnown:
		otherLevel = max(g.out(b, at), level)
	}
	if a.InFlight == b.InFlight {
		return level < otherLevel || level == otherLevel && otherKnown
	}
	return float64(a.InFlight+1) < float64(b.InFlight+1)*math.Exp(otherLevel-level)
}

// out returns how long the first answer of a server is out, as the level of a peak.
func (g *Group) out(c Choice, at Moment) float64 {
	asked := c.Server.asked.Load()
	if asked == 0 || c.InFlight == 0 {
		return math.Inf(-1)
	}
	waited := (float64(at) - math.Float64frombits(asked)) * float64(g.Decay)
	return math.Log(max(waited, 1)) + float64(at)
}
