// Package release decides how a release goes on: whether staging gets a larger share of the
// requests, waits, or loses it again. It goes by counts of requests that others have made. It has
// no clock, no storage and no network: what is decided follows from its arguments alone.
//
// A Plan says what is wanted, a State where a release is. Decide looks at both, with the counts of
// the present round, and returns a Decision with its reason in words. State.Apply makes a new State
// of it, which the caller stores if the stored one still has the version that was decided about.
package release

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Plan says how a release goes on, and what ends it. Start from DefaultPlan, and change what is
// set: so a test that is not set has its default, and one that is set to 0 is off.
type Plan struct {
	// The percentages of requests that staging gets, one after the other. Each must be above the
	// one before, and 100 at most. Default: 1, 5, 25, 50, 100.
	Steps []float64 `json:"steps"`

	// How long each step lasts at least. Time in which the release is paused does not count.
	// Default: 10m.
	Hold time.Duration `json:"hold"`

	// How many requests staging must have answered on a step before the next one. Too little traffic
	// is waiting, never a failure, and never a reason to go on. At least 1. Default: 300.
	MinRequests int64 `json:"min_requests"`

	// How many times as often as production staging may fail. The release fails once it is sure
	// that staging fails more often than that. From 1 to 100; 0 switches the test off. Default: 1.5.
	Errors float64 `json:"errors"`

	// How many times as often as production staging may be slow: slower than production's 95th
	// percentile of the interval before. From 1 to 100; 0 switches the test off. Default: 1.5.
	Slower float64 `json:"slower"`

	// Which fraction of its requests staging may fail, whatever production does. Requests do not
	// count for it while production itself fails more than that. No step is left before staging has
	// shown that it fails less: with 0.05, that takes some 120 requests of which none fails. Above
	// 0, below 1; 0 switches the test off. Default: 0.05.
	MaxErrors float64 `json:"max_errors"`

	// How sure each of the three tests must be by itself, over the whole release and however often
	// it is looked at. From 0.5 to 0.99999. Default: 0.99.
	Confidence float64 `json:"confidence"`

	// Steps that only begin when somebody has approved them, as percentages. The first step needs
	// none, since somebody starts the release. Default: none.
	Approve []float64 `json:"approve,omitempty"`

	// How long the release may take. It fails when that is over, also if it only waits for requests
	// or for an approval. Time in which it is paused does not count. Default: 24h.
	Deadline time.Duration `json:"deadline"`

	// What becomes of a release that fails. Default: rollback.
	OnFail OnFail `json:"on_fail"`

	// Whether to decide and tell, and leave the share as it is. Default: false.
	DryRun bool `json:"dry_run,omitempty"`
}

// OnFail is what becomes of a release that fails.
type OnFail string

const (
	FailRollback OnFail = "rollback" // staging gets no requests any more
	FailPause    OnFail = "pause"    // staging keeps its share until somebody resumes or aborts the release
)

// DefaultPlan returns a plan of its own with the defaults.
func DefaultPlan() Plan {
	return Plan{
		Steps:       []float64{1, 5, 25, 50, 100},
		Hold:        10 * time.Minute,
		MinRequests: 300,
		Errors:      1.5,
		Slower:      1.5,
		MaxErrors:   0.05,
		Confidence:  0.99,
		Deadline:    24 * time.Hour,
		OnFail:      FailRollback,
	}
}

// maxRequests bounds how many requests a step may need.
const maxRequests = 1_000_000_000_000

// MaxTolerance bounds how many times as often staging may fail or be slow.
const MaxTolerance = 100

// Validate returns all that is wrong with the plan.
func (p Plan) Validate() error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }

	if len(p.Steps) == 0 {
		bad("steps: there are none; write rising percentages, such as 1 5 25 50 100")
	}
	for i, step := range p.Steps {
		if !(step > 0 && step <= 100) {
			bad(`steps: "%v" is not above 0 and at most 100; write the percentage of requests for staging`, step)
		} else if i > 0 && step <= p.Steps[i-1] {
			bad(`steps: "%v" comes after %v; write rising percentages, such as 1 5 25 50 100`, step, p.Steps[i-1])
		}
	}
	for i, step := range p.Approve {
		if !slices.Contains(p.Steps, step) {
			bad(`approve: "%v" is not one of the steps %v; write one of them`, step, p.Steps)
		} else if step == p.Steps[0] {
			bad(`approve: "%v" is the first step, which begins when somebody starts the release; leave it out`, step)
		} else if slices.Contains(p.Approve[:i], step) {
			bad(`approve: "%v" is there twice; write it once`, step)
		}
	}
	switch total := p.Hold * time.Duration(len(p.Steps)); {
	case p.Deadline <= 0:
		bad(`deadline: "%v" is not above 0; write how long the release may take, such as 24h`, p.Deadline)
	case p.Hold < 0:
		bad(`hold: "%v" is below 0; write how long each step lasts at least, such as 10m`, p.Hold)
	case p.Hold >= p.Deadline:
		bad(`hold: "%v" is not below the deadline of %v; write a shorter hold or a longer deadline`, p.Hold, p.Deadline)
	case total/time.Duration(max(len(p.Steps), 1)) != p.Hold || total >= p.Deadline:
		bad(`hold: "%v" on each of %d steps takes longer than the deadline of %v; write a shorter hold or a longer deadline`, p.Hold, len(p.Steps), p.Deadline)
	}
	if p.MinRequests < 1 || p.MinRequests > maxRequests {
		bad(`min_requests: "%d" is not from 1 to %d; write how many requests staging must answer on each step, such as 300`, p.MinRequests, int64(maxRequests))
	}
	for _, test := range []struct {
		name      string
		tolerance float64
	}{{"errors", p.Errors}, {"slower", p.Slower}} {
		if t := test.tolerance; t != 0 && !(t >= 1 && t <= MaxTolerance) {
			bad(`%s: "%v" is not from 1 to %d; write how many times as often as production is tolerated, such as 1.5, or 0 to switch the test off`, test.name, t, MaxTolerance)
		}
	}
	if m := p.MaxErrors; m != 0 && !(m > 0 && m < 1) {
		bad(`max_errors: "%v" is not above 0 and below 1; write a fraction of the requests, such as 0.05 for 5 %%, or 0 to switch the test off`, m)
	}
	if p.Errors == 0 && p.Slower == 0 && p.MaxErrors == 0 {
		bad("errors, slower and max_errors are all off, so nothing would ever stop the release; switch one of them on, such as errors 1.5")
	}
	if !(p.Confidence >= 0.5 && p.Confidence <= 0.99999) {
		bad(`confidence: "%v" is not from 0.5 to 0.99999; write a fraction, such as 0.99 for 99 %%`, p.Confidence)
	}
	if p.OnFail != FailRollback && p.OnFail != FailPause {
		bad("on_fail: %q is not known; write %q or %q", p.OnFail, FailRollback, FailPause)
	}
	return errors.Join(wrong...)
}
