package proxyos

import (
	"fmt"
	"slices"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releaseStatus is what the admin API tells of the release of a route.
type releaseStatus struct {
	Phase      string    `json:"phase"`           // running, paused, done, rolled_back or stopped; none before the first
	DryRun     bool      `json:"dry_run"`         // it leaves the share as it is
	Steps      []float64 `json:"steps,omitempty"` // the percentages of requests for staging
	Step       int       `json:"step"`            // which of them it is on, or was, from 1
	Percent    float64   `json:"percent"`         // that percentage
	Reason     string    `json:"reason"`          // of the latest change, or what it waits for
	Change     string    `json:"change"`          // the latest change, and who has made it if that was somebody
	Failed     bool      `json:"failed"`          // it has failed, which is why it is paused or rolled back
	StartedAt  time.Time `json:"started_at,omitzero"`
	ChangedAt  time.Time `json:"changed_at,omitzero"`
	StepAt     time.Time `json:"step_at,omitzero"`   // when the step began, later by the time it was paused
	Deadline   time.Time `json:"deadline,omitzero"`  // when it fails if it is not over
	Hold       string    `json:"hold,omitempty"`     // how long a step lasts at least; twice that while staging looks worse
	Lasted     string    `json:"lasted,omitempty"`   // how long this one has lasted, without the time it was paused
	Requests   int64     `json:"requests"`           // answered on the step, by staging
	Production int64     `json:"production"`         // likewise, by production
	Needed     int64     `json:"min_requests"`       // how many staging must answer on this step, for what is known now
	Approve    []float64 `json:"approve,omitempty"`  // the steps that must be approved
	Approved   []float64 `json:"approved,omitempty"` // those that are
	Edited     string    `json:"edited,omitempty"`   // what the configuration says since it was edited, and from when

	Waits []release.Missing `json:"waits,omitempty"` // all that must happen before it goes on
	Tests []release.Finding `json:"tests,omitempty"` // what each test has found
}

// noRelease is the phase of a route that has had no release.
const noRelease = "none"

// releaseStatus tells where the release of the route is; nil if it never had one and has none
// configured.
func (r *route) releaseStatus() *releaseStatus {
	state, _ := r.state.latestRelease()
	if state == nil {
		if r.release == nil {
			return nil
		}
		plan := r.release.plan()
		return &releaseStatus{Phase: noRelease, Steps: plan.Steps, DryRun: plan.DryRun, Approve: plan.Approve, Needed: plan.MinRequests, Hold: plan.Hold.String(),
			Reason: fmt.Sprintf("`caddy proxyos release start %s` starts one", r.name)}
	}
	plan, now := state.Plan, time.Now().UTC()
	if r.release != nil {
		plan = r.release.plan()
	}
	state, counts, d := r.state.assess(plan, r.isExact(state), now)
	p := &state.Plan
	s := &releaseStatus{Phase: string(state.Phase), DryRun: p.DryRun, Steps: p.Steps, Step: state.Step + 1, Percent: state.Percent(), Reason: state.Reason, Change: state.Reason,
		Failed: state.Failed, StartedAt: state.StartedAt, ChangedAt: state.ChangedAt, StepAt: state.StepAt, Hold: p.Hold.String(), Needed: p.MinRequests, Approve: p.Approve, Approved: state.Approved}
	if !state.IsActive() {
		return s
	}
	s.Deadline = state.EndsAt
	until := now
	if state.Phase == release.Paused {
		until = state.PausedAt
	}
	s.Lasted = max(until.Sub(state.StepAt), 0).Round(time.Second).String()
	s.Requests, s.Production = counts.Staging.Requests, counts.Production.Requests
	s.Waits, s.Tests = d.Waits, d.Tests
	if state.Phase == release.Running && d.Kind != release.RollBack && d.Kind != release.PauseFailed {
		s.Reason = d.Reason
	}
	if d.Needed > 0 {
		s.Hold, s.Needed = d.Hold.String(), d.Needed
	}
	if next := state.Following(plan); !slices.Equal(next.Plan.Steps, p.Steps) {
		s.Edited = fmt.Sprintf("the configured steps were edited: %v apply from the next step on", plan.Steps)
		s.Steps = next.Plan.Steps
	}
	return s
}

// isExact tells whether the split gives staging just the share of the release's step.
func (r *route) isExact(state *release.State) bool {
	return r.cohorts == nil && !state.Plan.DryRun && r.split.current().percent == state.Percent()
}
