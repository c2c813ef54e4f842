package release

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Phase is what a release is doing.
type Phase string

const (
	Running    Phase = "running"
	Paused     Phase = "paused"      // by somebody, or since it failed: see State.Failed
	Done       Phase = "done"        // the last step was held to its end
	RolledBack Phase = "rolled_back" // it failed, or somebody aborted it
	Stopped    Phase = "stopped"     // somebody set the share by hand, which holds
)

// State is where a release is. It is a value: each change returns a new one, with a higher version.
// The zero value is that no release was ever started.
type State struct {
	Plan    Plan   `json:"plan"` // as it was at the start
	Phase   Phase  `json:"phase,omitempty"`
	Version uint64 `json:"version"`          // raised by each change, also by the start of the next release
	Reason  string `json:"reason,omitempty"` // of the latest change, in words

	Step     int       `json:"step"`               // as an index of the plan's steps
	Approved []float64 `json:"approved,omitempty"` // steps, as percentages
	Asked    float64   `json:"asked,omitempty"`    // the step for which only an approval was missing, as a percentage
	Failed   bool      `json:"failed,omitempty"`   // the release has failed

	StartedAt time.Time `json:"started_at,omitzero"`
	ChangedAt time.Time `json:"changed_at,omitzero"` // when the version was raised
	PausedAt  time.Time `json:"paused_at,omitzero"`  // while it is paused
	StepAt    time.Time `json:"step_at,omitzero"`    // when the step began, later by the time it was paused
	EndsAt    time.Time `json:"ends_at,omitzero"`    // when the deadline is over, later by the time it was paused

	// A round is a part of a step with counts of its own. Counts belong to the present round if they
	// were begun at this version. Older ones must not be shown to Decide.
	CountsFrom uint64    `json:"counts_from"`
	Round      int       `json:"round"` // from 1, over the whole release
	RoundAt    time.Time `json:"round_at,omitzero"`
	Counted    Groups    `json:"counted,omitzero"` // in the rounds before, on this step
	Evidence   Evidence  `json:"evidence"`         // of the rounds before, with what is bet in this one
}

// Start starts a release after the one before, or after none.
func Start(p Plan, before State, now time.Time) (State, error) {
	if before.IsActive() {
		return before, fmt.Errorf("a release is %s at %s; abort it first, or let it end", before.Phase, percent(before.Percent()))
	}
	if err := p.Validate(); err != nil {
		return before, err
	}
	p.Steps, p.Approve = slices.Clone(p.Steps), slices.Clone(p.Approve)
	s := State{Plan: p, Phase: Running, Version: before.Version, StartedAt: now, EndsAt: now.Add(p.Deadline)}
	s = s.changed("started", now)
	return s.newRound(newEvidence(1), now).newStep(0, now), nil
}

// Following returns the release with the steps of an edited plan after the present one.
func (s State) Following(edited Plan) State {
	now := s.Percent()
	isLater := func(step float64) bool { return step > now }
	s.Plan.Steps = append(slices.Clone(s.Plan.Steps[:min(s.Step+1, len(s.Plan.Steps))]), filter(edited.Steps, isLater)...)
	s.Plan.Approve = append(filter(s.Plan.Approve, func(step float64) bool { return !isLater(step) }), filter(edited.Approve, isLater)...)
	return s
}

// Adopting returns the release with an edited plan, as one that has just begun a step takes it on.
func (s State) Adopting(edited Plan) State {
	next := s.Following(edited).Plan
	edited.Steps, edited.Approve, edited.DryRun = next.Steps, next.Approve, next.DryRun
	s.Plan = edited
	return s
}

func filter(steps []float64, keep func(float64) bool) []float64 {
	return slices.DeleteFunc(slices.Clone(steps), func(step float64) bool { return !keep(step) })
}

// Check rejects a state that cannot be gone on with, as a storage may have it.
func (s State) Check() error {
	if s.Phase == "" {
		return nil
	}
	if s.Step < 0 || s.Step >= len(s.Plan.Steps) {
		return fmt.Errorf("step %d of a release is none of its %d steps", s.Step, len(s.Plan.Steps))
	}
	for _, step := range s.Plan.Steps {
		if !(step > 0 && step <= 100) {
			return fmt.Errorf("the step of %v %% of a release is not above 0 and at most 100", step)
		}
	}
	return s.Counted.Check()
}

// IsActive tells whether the release goes on, or may do so.
func (s State) IsActive() bool { return s.Phase == Running || s.Phase == Paused }

// Percent returns which percentage of the requests staging gets in this step, or got in the last.
func (s State) Percent() float64 {
	if s.Step >= len(s.Plan.Steps) {
		return 0
	}
	return s.Plan.Steps[s.Step]
}

// Share returns which percentage of the requests the release gives to staging. It has no say before
// it was started, after the share was set by hand, and if it changes nothing.
func (s State) Share() (percent float64, holds bool) {
	switch {
	case s.Plan.DryRun:
		return 0, false
	case s.IsActive() || s.Phase == Done:
		return s.Percent(), true
	}
	return 0, s.Phase == RolledBack
}

// Apply makes the change that was decided. Waiting changes nothing.
func (s State) Apply(d Decision, now time.Time) (State, error) {
	if d.Version != s.Version {
		return s, fmt.Errorf("the release is at version %d, and the decision was for version %d; decide again", s.Version, d.Version)
	}
	switch d.Kind {
	case Advance:
		s = s.changed(d.Reason, now)
		return s.newRound(d.evidence.renewed(s.Round+1), now).newStep(s.Step+1, now), nil
	case Renew:
		counted, reason := s.Counted.Add(d.counts), s.Reason
		s = s.changed(reason, now).newRound(d.evidence.renewed(s.Round+1), now)
		s.Counted = counted
	case Ask:
		s = s.changed(d.Reason, now)
		s.Asked = s.Plan.Steps[s.Step+1]
	case Finish:
		return s.ended(Done, d.Reason, now), nil
	case RollBack:
		s = s.ended(RolledBack, d.Reason, now)
		s.Failed = true
	case PauseFailed:
		s = s.paused(d.Reason, now)
		s.Failed = true
	}
	return s, nil
}

// Pause keeps the release where it is, until somebody resumes it. It fails all the same if a test
// is sure. Why is the reason, as "paused by hand".
func (s State) Pause(why string, now time.Time) (State, error) {
	if s.Phase != Running {
		return s, s.not("pause", "running")
	}
	return s.paused(why, now), nil
}

// Resume goes on with a release that is paused. What was found so far still counts. But if the
// release was paused since it failed, the step begins again, with nothing found and the whole time
// to the deadline: somebody has decided that the failure is no reason.
func (s State) Resume(why string, now time.Time) (State, error) {
	if s.Phase != Paused {
		return s, s.not("resume", "paused")
	}
	pause := max(now.Sub(s.PausedAt), 0)
	failed := s.Failed
	s.Phase, s.Failed, s.PausedAt = Running, false, time.Time{}
	s = s.changed(why, now)
	if failed {
		s.EndsAt = now.Add(s.Plan.Deadline)
		return s.newRound(newEvidence(s.Round+1), now).newStep(s.Step, now), nil
	}
	s.StepAt, s.RoundAt, s.EndsAt = s.StepAt.Add(pause), s.RoundAt.Add(pause), s.EndsAt.Add(pause)
	return s, nil
}

// Approve lets a step begin that must be approved, as soon as it is its turn.
func (s State) Approve(step float64, now time.Time) (State, error) {
	switch {
	case !s.IsActive():
		return s, s.not("approve", "running")
	case !slices.Contains(s.Plan.Approve, step):
		return s, fmt.Errorf("the step of %s needs no approval; those that do: %s", percent(step), percents(s.Plan.Approve))
	case slices.Contains(s.Approved, step):
		return s, fmt.Errorf("the step of %s is approved already", percent(step))
	case step <= s.Percent():
		return s, fmt.Errorf("the step of %s has begun already", percent(step))
	}
	s.Approved = slices.Concat(s.Approved, []float64{step})
	return s.changed("the step of "+percent(step)+" is approved", now), nil
}

// Abort ends the release, and takes all requests back from staging.
func (s State) Abort(why string, now time.Time) (State, error) {
	if !s.IsActive() {
		return s, s.not("abort", "running")
	}
	return s.ended(RolledBack, why, now), nil
}

// Stop ends the release since the share was set by hand. It has no say from then on.
func (s State) Stop(why string, now time.Time) (State, error) {
	if !s.IsActive() {
		return s, s.not("stop", "running")
	}
	return s.ended(Stopped, why, now), nil
}

// not returns why something cannot be done.
func (s State) not(what string, phase Phase) error {
	switch {
	case s.Phase == "":
		return errors.New("there is no release to " + what + "; start one first")
	case s.IsActive():
		return fmt.Errorf("the release is %s, not %s, so there is nothing to %s", s.Phase, phase, what)
	}
	return fmt.Errorf("there is no release to %s: the latest is over (%s); start another one first", what, s.Reason)
}

func (s State) changed(reason string, now time.Time) State {
	s.Version++
	s.Reason, s.ChangedAt = reason, now
	return s
}

func (s State) paused(why string, now time.Time) State {
	s.Phase, s.PausedAt = Paused, now
	return s.changed(why, now)
}

func (s State) ended(phase Phase, why string, now time.Time) State {
	s.Phase, s.PausedAt = phase, time.Time{}
	return s.changed(why, now)
}

// newRound begins to count anew. The version must have been raised.
func (s State) newRound(e Evidence, now time.Time) State {
	s.CountsFrom, s.Evidence, s.Counted = s.Version, e, Groups{}
	s.Round++
	s.RoundAt = now
	return s
}

func (s State) newStep(step int, now time.Time) State {
	s.Step, s.StepAt = step, now
	return s
}
