package release

import (
	"slices"
	"testing"
	"time"
)

// A release of which anything happens, at random times, is compared with what must always be true.
func TestAnyHistoryOfAReleaseKeepsItsPromises(t *testing.T) {
	ends := make(map[Phase]int)
	for run := range runs(t, 5000, 500) {
		random := seeded(run)
		plan := DefaultPlan()
		plan.Approve, plan.MinRequests = []float64{25, 100}, 200
		if random.IntN(2) == 0 {
			plan.OnFail = FailPause
		}
		s, err := Start(plan, State{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		now, began, seen, paused := noon, noon, Seen{}, time.Duration(0)
		counted, countsFrom := int64(0), s.CountsFrom // since the step began
		for range 80 {
			elapsed := time.Duration(random.Int64N(int64(20 * time.Minute)))
			now = now.Add(elapsed)
			if s.Phase == Paused {
				paused += elapsed
			}
			if n := random.Int64N(400); random.IntN(8) > 0 {
				more := good(n)
				if random.IntN(80) == 0 {
					more.Counts.Staging.Failed, more.Counts.Staging.JudgedFailed = n/2, n/2
				}
				seen.Counts, counted = seen.Counts.Add(more.Counts), counted+n
			}
			seen.Exact, seen.ProductionFails = 10, random.IntN(10) == 0

			before, action := s, random.IntN(24)
			d := Decide(s, seen, now)
			switch action {
			case 0:
				s, err = s.Pause("paused by hand", now)
			case 1, 2:
				s, err = s.Resume("resumed by hand", now)
			case 3, 4:
				s, err = s.Approve(plan.Steps[random.IntN(5)], now)
			case 5:
				if random.IntN(10) == 0 {
					s, err = s.Abort("aborted by hand", now)
				}
			case 6:
				if random.IntN(10) == 0 {
					s, err = s.Stop("stopped by hand", now)
				}
			default:
				s, err = s.Apply(d, now)
			}
			if s.CountsFrom != countsFrom {
				seen.Counts, countsFrom = Groups{}, s.CountsFrom
			}

			changed := s.Version != before.Version
			ended := before.Phase != Running && before.Phase != Paused
			switch {
			case err != nil && changed:
				t.Fatalf("run %d: it has changed in spite of %v", run, err)
			case changed && s.Version != before.Version+1:
				t.Fatalf("run %d: version %d comes after %d", run, s.Version, before.Version)
			case !changed && (s.Phase != before.Phase || s.Step != before.Step || s.CountsFrom != before.CountsFrom):
				t.Fatalf("run %d: it has changed without a version", run)
			case ended && changed:
				t.Fatalf("run %d: it was %s, and is %s", run, before.Phase, s.Phase)
			case s.Step != before.Step && s.Step != before.Step+1:
				t.Fatalf("run %d: step %d comes after %d", run, s.Step, before.Step)
			case s.Phase == Done && before.Step != 4:
				t.Fatalf("run %d: done after step %d", run, before.Step)
			case s.CountsFrom > s.Version:
				t.Fatalf("run %d: counts from %d at version %d", run, s.CountsFrom, s.Version)
			}
			wentOn := s.Step != before.Step || s.Phase == Done && before.Phase != Done
			again := s.StepAt == now && s.Step == before.Step && changed
			if wentOn {
				switch held := now.Sub(began) - paused; {
				case before.Phase != Running:
					t.Fatalf("run %d: it went on while %s", run, before.Phase)
				case held < plan.Hold:
					t.Fatalf("run %d: it went on after %v", run, held)
				case counted < plan.MinRequests:
					t.Fatalf("run %d: it went on after %d requests", run, counted)
				case seen.ProductionFails:
					t.Fatalf("run %d: it went on while production failed", run)
				case s.Phase == Running && slices.Contains(plan.Approve, s.Percent()) && !slices.Contains(before.Approved, s.Percent()):
					t.Fatalf("run %d: it went on to %v %% without approval", run, s.Percent())
				}
			}
			if wentOn || again {
				began, paused, counted = now, 0, 0
			}
		}
		ends[s.Phase]++
	}
	t.Log(ends)
	for _, phase := range []Phase{Running, Paused, Done, RolledBack, Stopped} {
		if ends[phase] == 0 {
			t.Errorf("no history has ended %s: %v", phase, ends)
		}
	}
}
