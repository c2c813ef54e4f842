package release

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what is to be done about a release.
type Kind string

const (
	Wait        Kind = "wait"      // nothing now
	Renew       Kind = "renew"     // count anew on the same step: no news for anybody
	Ask         Kind = "ask"       // tell that only somebody's approval is missing
	Advance     Kind = "advance"   // go to the next step
	Finish      Kind = "finish"    // end it: the last step was held to its end
	RollBack    Kind = "roll_back" // end it: it failed
	PauseFailed Kind = "pause"     // keep staging's share until somebody decides: it failed
)

// Decision is what is to be done about a release, and why. State.Apply does it.
type Decision struct {
	Kind    Kind      `json:"kind"`
	Version uint64    `json:"version"`         // of the state that was decided about
	Reason  string    `json:"reason"`          // in words, with numbers
	Waits   []Missing `json:"waits,omitempty"` // all that must happen before it goes on

	// How long this step must last, and how many requests staging must have answered on it: twice what
	// the plan says while staging looks worse, and what it takes to show that it fails less than
	// max_errors.
	Hold   time.Duration `json:"-"`
	Needed int64         `json:"-"`

	Tests []Finding `json:"tests,omitempty"` // what each test has found that is on

	counts   Groups
	evidence Evidence
}

// Missing is something that a release waits for.
type Missing struct {
	For      string        `json:"for"`                // ForHold, ForRequests and so on
	Requests int64         `json:"requests,omitempty"` // how many staging is yet to answer, where it waits for those
	Left     time.Duration `json:"left,omitempty"`     // how long that takes, at the rate so far; 0: unknown
	Text     string        `json:"text"`               // in words, to go after "waiting for"
}

// What a release waits for.
const (
	ForStart      = "start"      // there is none
	ForResume     = "resume"     // it is paused
	ForHold       = "hold"       // the step is to last longer
	ForRequests   = "requests"   // staging has answered too few
	ForBound      = "bound"      // it is not shown that staging fails less than max_errors
	ForProduction = "production" // production fails, too
	ForAnswers    = "answers"    // staging has requests in flight, and answers none
	ForApproval   = "approval"   // the next step is not approved
)

// Seen is what the instances have seen in the present round.
type Seen struct {
	// The sum of the tallies of all instances that were begun at State.CountsFrom.
	Counts Groups

	// The percentage of the requests that the split gave staging all through the round, if it decided
	// on each request by itself: State.Share, without stickiness. 0: it did not, so what a Tally has
	// measured counts.
	Exact float64

	// Whether a Tally says so on any instance.
	ProductionFails bool

	// For how long staging has had requests in flight and answered none.
	Unanswered time.Duration
}

const (
	// suspicious is how much of the logarithm of an alarm makes a step take twice as long. It is half
	// of what is wanted: 90 % sure, at a confidence of 99 %, which a single failure is not. A longer
	// delay would leave a release waiting whose few failures were chance: the evidence stays where it
	// is while nothing fails.
	suspicious = 0.5

	// roundLength is how long a round takes at least.
	roundLength = 5 * time.Minute

	// silence is after how long a staging that answers nothing keeps a release from going on.
	silence = 5 * time.Second
)

// Decide decides what is to be done about a release now.
//
// It goes on once the step has lasted as long as it must, staging has answered as many requests as
// it must and was shown to fail less than max_errors, production does not fail, and the next step is
// approved if it must be. While staging looks worse than it may, but not surely, it takes twice the
// time and twice the requests.
func Decide(s State, seen Seen, now time.Time) Decision {
	p := &s.Plan
	d := Decision{Kind: Wait, Version: s.Version, Reason: s.Reason, counts: seen.Counts}
	if !s.IsActive() {
		d.Waits = []Missing{{For: ForStart, Text: "somebody to start a release"}}
		return d
	}
	d.evidence = s.Evidence.after(p, seen.Counts, seen.Exact)
	d.Tests = findings(&s, seen.Counts, d.evidence)
	resume := Missing{For: ForResume, Text: "somebody to resume or abort it"}
	if s.Phase == Paused && s.Failed {
		d.Waits = []Missing{resume}
		return d
	}
	fail := func(reason string) Decision {
		d.Kind, d.Reason = RollBack, reason
		if p.OnFail == FailPause {
			d.Kind = PauseFailed
		}
		return d
	}
	var alarms []string
	looksWorse := false
	for _, test := range d.Tests {
		if test.Alarm {
			alarms = append(alarms, test.Text)
		}
		looksWorse = looksWorse || test.LogE >= suspicious*alarm(p.Confidence)
	}
	if len(alarms) > 0 {
		return fail(strings.Join(alarms, "; "))
	}
	if now.Sub(s.RoundAt) >= roundLength && s.isSpent(d.evidence) {
		d.Kind = Renew // unless it goes on or fails
	}
	if s.Phase == Paused {
		d.Waits = []Missing{resume}
		return d
	}

	missingNow(&s, seen, &d, looksWorse, now)
	texts := make([]string, len(d.Waits))
	for i, wait := range d.Waits {
		texts[i] = wait.Text
	}
	last := s.Step >= len(p.Steps)-1
	switch {
	case len(d.Waits) == 0 && last:
		d.Kind, d.Reason = Finish, "staging does no worse, and the last step is over"
	case !now.Before(s.EndsAt):
		if len(texts) == 0 {
			texts = []string{"nothing"}
		}
		return fail(fmt.Sprintf("the deadline of %s is over at %s, waiting for %s", short(p.Deadline), percent(s.Percent()), strings.Join(texts, ", and ")))
	case len(d.Waits) == 0:
		d.Kind, d.Reason = Advance, fmt.Sprintf("staging does no worse at %s: on to %s", percent(s.Percent()), percent(p.Steps[s.Step+1]))
	default:
		d.Reason = "waiting for " + strings.Join(texts, ", and ")
		if len(d.Waits) == 1 && d.Waits[0].For == ForApproval && s.Asked != p.Steps[s.Step+1] {
			d.Kind = Ask
		}
	}
	return d
}

// missingNow notes what must happen before a step is over.
func missingNow(s *State, seen Seen, d *Decision, looksWorse bool, now time.Time) {
	p, all := &s.Plan, s.Counted.Add(seen.Counts)
	staging, lasted := all.Staging, max(now.Sub(s.StepAt), 0)
	atThisRate := func(more, had int64) (time.Duration, string) {
		if had <= 0 || lasted <= 0 {
			return 0, "it gets none at present"
		}
		needed := float64(lasted) / float64(had) * float64(more)
		if needed > float64(p.Deadline) {
			return 0, "which takes longer than the deadline at the rate so far"
		}
		left := time.Duration(needed)
		return left, "which takes " + short(left) + " at the rate so far"
	}
	hold, requests, twice := p.Hold, p.MinRequests, ""
	if looksWorse {
		hold, requests, twice = 2*hold, 2*requests, " (twice as much, since staging looks worse)"
	}

	d.Hold, d.Needed = hold, requests
	add := func(what string, requests int64, left time.Duration, format string, args ...any) {
		d.Waits = append(d.Waits, Missing{what, requests, left, fmt.Sprintf(format, args...)})
	}
	if left := hold - lasted; left > 0 {
		add(ForHold, 0, left, "another %s of the %s that a step lasts%s", short(left), short(hold), twice)
	}
	if more := requests - staging.Requests; more > 0 {
		left, rate := atThisRate(more, staging.Requests)
		add(ForRequests, more, left, "staging to answer %s more of %s requests%s, %s", commas(more), commas(requests), twice, rate)
	}
	if p.MaxErrors > 0 {
		if more := missing(staging.JudgedFailed, staging.Judged, p.MaxErrors, p.Confidence); more > 0 {
			left, rate := atThisRate(more, staging.Judged)
			d.Needed = max(d.Needed, staging.Requests+more)
			add(ForBound, more, left, "staging to answer %s more requests well, so that it surely fails less than %s, %s", commas(more), percent(100*p.MaxErrors), rate)
		}
	}
	if seen.Unanswered >= silence {
		add(ForAnswers, 0, 0, "staging to answer: it has had requests in flight for %s, and has answered none", short(seen.Unanswered))
	}
	if seen.ProductionFails {
		add(ForProduction, 0, 0, "production to recover: production fails more than %s, too", percent(100*p.MaxErrors))
	}
	if s.Step+1 < len(p.Steps) {
		if next := p.Steps[s.Step+1]; slices.Contains(p.Approve, next) && !slices.Contains(s.Approved, next) {
			add(ForApproval, 0, 0, "somebody to approve the step of %s", percent(next))
		}
	}
}

// isSpent tells whether a test that is on has less left than would be bet in another round.
func (s *State) isSpent(e Evidence) bool {
	fresh := stake(s.Round + 1).log()
	return s.Plan.Errors > 0 && e.Errors.log() < fresh ||
		s.Plan.Slower > 0 && e.Slower.log() < fresh ||
		s.Plan.MaxErrors > 0 && e.MaxErrors.log() < fresh
}
