package release

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatCannotBeDoneSaysWhy(t *testing.T) {
	running := started(t, func(p *Plan) { p.Approve = []float64{5, 50} })
	begun := running
	begun.Step = 1
	paused, _ := running.Pause("paused by hand", noon)
	approved, _ := running.Approve(50, noon)
	over, _ := running.Abort("aborted by hand", noon)
	start := func(s State) (State, error) { return Start(DefaultPlan(), s, noon) }
	pause := func(s State) (State, error) { return s.Pause("", noon) }
	resume := func(s State) (State, error) { return s.Resume("", noon) }
	abort := func(s State) (State, error) { return s.Abort("", noon) }
	stop := func(s State) (State, error) { return s.Stop("", noon) }
	approve := func(step float64) func(s State) (State, error) {
		return func(s State) (State, error) { return s.Approve(step, noon) }
	}
	for _, c := range []struct {
		name  string
		state State
		do    func(State) (State, error)
		want  string
	}{
		{"start twice", running, start, "a release is running at 1 %; abort it first"},
		{"start while paused", paused, start, "a release is paused at 1 %"},
		{"start an invalid plan", over, func(s State) (State, error) { return Start(Plan{}, s, noon) }, "steps: there are none"},
		{"pause nothing", State{}, pause, "there is no release to pause; start one first"},
		{"pause twice", paused, pause, "the release is paused, not running"},
		{"pause what is over", over, pause, "there is no release to pause: the latest is over (aborted by hand)"},
		{"resume what runs", running, resume, "the release is running, not paused"},
		{"abort what is over", over, abort, "the latest is over"},
		{"abort nothing", State{}, abort, "there is no release to abort"},
		{"stop what is over", over, stop, "the latest is over"},
		{"approve what is over", over, approve(50), "the latest is over"},
		{"approve what needs none", running, approve(25), "the step of 25 % needs no approval; those that do: 5 %, 50 %"},
		{"approve twice", approved, approve(50), "the step of 50 % is approved already"},
		{"approve what has begun", begun, approve(5), "the step of 5 % has begun already"},
		{"decide about what has changed since", paused, func(s State) (State, error) {
			return s.Apply(Decide(running, good(300), noon.Add(10*time.Minute)), noon)
		}, "the release is at version 2, and the decision was for version 1; decide again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.do(c.state)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if got.Version != c.state.Version || got.Phase != c.state.Phase {
				t.Errorf("it has changed to %s", got.Phase)
			}
		})
	}
}

func TestApprovalsAddUp(t *testing.T) {
	s := started(t, func(p *Plan) { p.Approve = []float64{5, 50} })
	s, _ = s.Approve(50, noon)
	s, err := s.Approve(5, noon)
	if want := []float64{50, 5}; err != nil || !slices.Equal(s.Approved, want) {
		t.Errorf("approved %v, %v; want %v", s.Approved, err, want)
	}
}

func TestTheShareThatAReleaseGives(t *testing.T) {
	running := started(t, nil)
	atStep := func(step int) State { s := running; s.Step = step; return s }
	dry := started(t, func(p *Plan) { p.DryRun = true })
	paused, _ := atStep(1).Pause("", noon)
	aborted, _ := atStep(1).Abort("", noon)
	stopped, _ := atStep(1).Stop("", noon)
	done, err := atStep(4).Apply(Decide(atStep(4), good(300), noon.Add(10*time.Minute)), noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		state   State
		percent float64
		holds   bool
	}{
		{"none", State{}, 0, false}, {"the first step", running, 1, true}, {"paused", paused, 5, true}, {"done", done, 100, true},
		{"aborted", aborted, 0, true}, {"set by hand", stopped, 0, false}, {"dry", dry, 0, false},
	} {
		if percent, holds := c.state.Share(); percent != c.percent || holds != c.holds {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, percent, holds, c.percent, c.holds)
		}
	}
}

func TestPausedTimeDoesNotCount(t *testing.T) {
	s := started(t, nil)
	s, _ = s.Pause("paused by hand", noon.Add(4*time.Minute))
	s, err := s.Resume("resumed by hand", noon.Add(30*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if d := Decide(s, good(300), noon.Add(30*time.Hour+6*time.Minute-1)); len(d.Waits) != 1 || d.Waits[0].For != ForHold {
		t.Errorf("%s: %s", d.Kind, d.Reason)
	}
	if d := Decide(s, good(300), noon.Add(30*time.Hour+6*time.Minute)); d.Kind != Advance {
		t.Errorf("%s: %s", d.Kind, d.Reason)
	}
	if s.CountsFrom != 1 {
		t.Error("what was counted before the pause is forgotten")
	}
}

func TestResumingAfterAFailureBeginsTheStepAgain(t *testing.T) {
	s := started(t, func(p *Plan) { p.OnFail = FailPause })
	bad, now := good(1000), noon.Add(23*time.Hour)
	bad.Counts.Staging.Failed = 500
	s, err := s.Apply(Decide(s, bad, now), now)
	if err != nil || s.Phase != Paused || !s.Failed {
		t.Fatalf("%s, failed %v, %v", s.Phase, s.Failed, err)
	}
	if d := Decide(s, bad, now.Add(48*time.Hour)); d.Kind != Wait || d.Waits[0].For != ForResume || !strings.Contains(d.Reason, "500 of 1,000") {
		t.Errorf("%s: %s", d.Kind, d.Reason)
	}
	now = now.Add(48 * time.Hour)
	if s, err = s.Resume("resumed by hand", now); err != nil || s.Failed || s.CountsFrom != s.Version || s.StepAt != now || s.Step != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if d := Decide(s, good(300), now.Add(10*time.Minute)); d.Kind != Advance {
		t.Errorf("%s: %s", d.Kind, d.Reason)
	}
	if d := Decide(s, Seen{}, now.Add(24*time.Hour)); !strings.Contains(d.Reason, "deadline") {
		t.Errorf("%s: %s", d.Kind, d.Reason)
	}
}

func TestEvidenceIsCarriedThroughRoundsAndSteps(t *testing.T) {
	s, now := started(t, func(p *Plan) { p.Errors = 1 }), noon
	worse := good(300) // by itself not sure
	worse.Counts.Staging.Failed += 4
	if d := Decide(s, worse, now); d.Kind != Wait {
		t.Fatalf("%s: %s", d.Kind, d.Reason)
	}
	for range 2 { // looks worse, so it takes twice as long
		now = now.Add(time.Hour)
		d := Decide(s, good(600), now)
		var err error
		if s, err = s.Apply(d, now); err != nil || d.Kind != Advance {
			t.Fatalf("%s: %s, %v", d.Kind, d.Reason, err)
		}
	}
	fresh := newEvidence(s.Round).Errors.log()
	if s.Step != 2 || s.Round != 3 || s.CountsFrom != s.Version || s.Evidence.Errors.log() <= fresh {
		t.Errorf("step %d, round %d, counts from %d of %d, log E %v", s.Step, s.Round, s.CountsFrom, s.Version, s.Evidence.Errors.log())
	}

	// In another round of the same step, requests still count for min_requests.
	now = now.Add(5 * time.Minute)
	before := Decide(s, good(200), now)
	s, err := s.Apply(before, now)
	if err != nil || before.Kind != Renew || s.Step != 2 || s.Round != 4 || s.Counted != good(200).Counts {
		t.Fatalf("%s: step %d, round %d, counted %+v, %v", before.Kind, s.Step, s.Round, s.Counted, err)
	}
	if got, least := s.Evidence.Errors.log(), before.Tests[0].LogE; got <= least {
		t.Errorf("log E is %v, and was %v before anything new was bet", got, least)
	}
	after := Decide(s, good(100), now.Add(5*time.Minute))
	if after.Kind != Advance {
		t.Errorf("%s: %s", after.Kind, after.Reason)
	}
	if text := after.Tests[0].Text; !strings.HasPrefix(text, "staging failed 1 of 300 requests, production 13 of 2,700") {
		t.Error(text)
	}
}

func TestCountingBeginsAnewWhenATestHasLostMost(t *testing.T) {
	alike := Groups{Staging: Counts{Failed: 100, Slow: 100, Judged: 1000}, Production: Counts{Failed: 900, Slow: 900}}
	for _, c := range []struct {
		name   string
		change func(p *Plan)
		counts Groups
		want   bool
	}{
		{"nothing happened", nil, Groups{}, false},
		{"failures", nil, Groups{Staging: Counts{Failed: 100}, Production: Counts{Failed: 900}}, true},
		{"of a test that is off", func(p *Plan) { p.Errors = 0 }, Groups{Staging: Counts{Failed: 100}, Production: Counts{Failed: 900}}, false},
		{"slow ones", nil, Groups{Staging: Counts{Slow: 100}, Production: Counts{Slow: 900}}, true},
		{"good ones", nil, Groups{Staging: Counts{Judged: 1000}}, true},
		{"all, with two tests off", func(p *Plan) { p.Errors, p.Slower = 0, 0 }, alike, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := started(t, c.change)
			seen := Seen{Counts: c.counts, Exact: 10}
			if d := Decide(s, seen, noon.Add(roundLength)); (d.Kind == Renew) != c.want {
				t.Errorf("%s: %s", d.Kind, d.Reason)
			}
			if d := Decide(s, seen, noon.Add(roundLength-1)); d.Kind != Wait {
				t.Errorf("too early: %s: %s", d.Kind, d.Reason)
			}
		})
	}
}

func TestAReleaseKeepsThePlanItWasStartedWith(t *testing.T) {
	p := DefaultPlan()
	p.Approve = []float64{50}
	s, err := Start(p, State{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	p.Steps[0], p.Approve[0] = 99, 99
	if s.Percent() != 1 || s.Plan.Approve[0] != 50 {
		t.Errorf("its plan is %+v", s.Plan)
	}
}

func TestTheNextReleaseHasAHigherVersion(t *testing.T) {
	first, _ := started(t, nil).Abort("aborted by hand", noon)
	second, err := Start(DefaultPlan(), first, noon)
	if err != nil || second.Version != 3 || second.CountsFrom != 3 || second.Round != 1 || second.Step != 0 {
		t.Errorf("%+v, %v", second, err)
	}
}
