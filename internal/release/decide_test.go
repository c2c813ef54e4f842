package release

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// started returns a release that has just begun its first step.
func started(t testing.TB, change func(p *Plan)) State {
	t.Helper()
	p := DefaultPlan()
	if change != nil {
		change(&p)
	}
	s, err := Start(p, State{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// good is what both groups look like when nothing is wrong, at a share of 10 %.
func good(staging int64) Seen {
	return Seen{Counts: Groups{
		Staging:    Counts{Requests: staging, Failed: staging / 200, Timed: staging, Slow: staging / 20, Judged: staging, JudgedFailed: staging / 200},
		Production: Counts{Requests: 9 * staging, Failed: 9 * staging / 200, Timed: 9 * staging, Slow: 9 * staging / 20},
	}, Exact: 10}
}

func TestAReleaseGoesOnOnlyWithAll(t *testing.T) {
	with := func(s Seen, change func(s *Seen)) Seen {
		change(&s)
		return s
	}
	at := func(step int, s State) State { s.Step = step; return s }
	approved := started(t, func(p *Plan) { p.Approve = []float64{5} })
	waiting := approved
	asked := waiting
	asked.Plan.Hold, asked.Asked = 0, 5
	approved, err := approved.Approve(5, noon)
	if err != nil {
		t.Fatal(err)
	}
	paused := started(t, func(p *Plan) { p.OnFail = FailPause })
	byHand, err := started(t, nil).Pause("paused by hand", noon)
	if err != nil {
		t.Fatal(err)
	}
	none, worse := Seen{Exact: 10}, with(good(1000), func(s *Seen) { s.Counts.Staging.Failed += 20 })
	for _, c := range []struct {
		name   string
		state  State
		seen   Seen
		after  time.Duration
		want   Kind
		waits  []string
		reason string
	}{
		{"hold and requests are over", started(t, nil), good(300), 10 * time.Minute, Advance, nil, "staging does no worse at 1 %: on to 5 %"},
		{"the last step is over", at(4, started(t, nil)), good(300), 10 * time.Minute, Finish, nil, "the last step is over"},
		{"also after the deadline", at(4, started(t, nil)), good(300), 24 * time.Hour, Finish, nil, "the last step is over"},
		{"the hold is not over", started(t, nil), good(300), 10*time.Minute - 1, Wait, []string{ForHold}, "waiting for another 1s of the 10m that a step lasts"},
		{"a request is missing", started(t, nil), good(299), time.Hour, Wait, []string{ForRequests}, "waiting for staging to answer 1 more of 300 requests, which takes 13s at the rate so far"},
		{"staging answers none", started(t, nil), with(good(300), func(s *Seen) { s.Unanswered = silence }), time.Hour, Wait, []string{ForAnswers}, "waiting for staging to answer: it has had requests in flight for 5s, and has answered none"},
		{"it is quiet for a moment", started(t, nil), with(good(300), func(s *Seen) { s.Unanswered = silence - 1 }), time.Hour, Advance, nil, "on to 5 %"},
		{"only an approval is missing", waiting, good(300), time.Hour, Ask, []string{ForApproval}, "waiting for somebody to approve the step of 5 %"},
		{"not without traffic", started(t, nil), none, time.Hour, Wait, []string{ForRequests, ForBound}, "waiting for staging to answer 300 more of 300 requests, it gets none at present"},
		{"nothing has happened yet", started(t, nil), none, 0, Wait, []string{ForHold, ForRequests, ForBound}, "waiting for another 10m"},
		{"a clock that is behind", started(t, nil), good(300), -time.Minute, Wait, []string{ForHold}, "another 10m of the 10m"},
		{"too few good answers", started(t, nil), with(good(400), func(s *Seen) { s.Counts.Staging.JudgedFailed += 10; s.Counts.Production.Failed += 90 }), time.Hour, Wait, []string{ForBound}, "more requests well, so that it surely fails less than 5 %"},
		{"no bound is wanted with max_errors off", started(t, func(p *Plan) { p.MaxErrors = 0 }), with(good(300), func(s *Seen) { s.Counts.Staging.Judged = 0 }), 10 * time.Minute, Advance, nil, ""},
		{"production fails", started(t, nil), with(good(300), func(s *Seen) { s.ProductionFails = true }), time.Hour, Wait, []string{ForProduction}, "production fails more than 5 %, too"},
		{"approval is missing, and was asked for", asked, good(300), 4 * time.Minute, Wait, []string{ForApproval}, "waiting for somebody to approve the step of 5 %"},
		{"approved", approved, good(300), 10 * time.Minute, Advance, nil, "on to 5 %"},
		{"approval is for another step", at(1, waiting), good(300), 10 * time.Minute, Advance, nil, "on to 25 %"},
		{"staging fails more often", started(t, nil), worse, time.Minute, RollBack, nil, "staging failed 25 of 1,000 requests, production 45 of 9,000; 99 % sure that it fails more than 1.5 times as often"},
		{"or the release is to pause", paused, worse, time.Minute, PauseFailed, nil, "99 % sure"},
		{"nothing of that with the test off", started(t, func(p *Plan) { p.Errors = 0 }), worse, 10 * time.Minute, Advance, nil, ""},
		{"staging is slow", started(t, nil), with(good(1000), func(s *Seen) { s.Counts.Staging.Slow += 80 }), time.Minute, RollBack, nil, "staging was slower than production's 95th percentile in 130 of 1,000 requests, production in 450 of 9,000; 99 % sure that it is slow more than 1.5 times as often"},
		{"nothing of that with the test off", started(t, func(p *Plan) { p.Slower = 0 }), with(good(1000), func(s *Seen) { s.Counts.Staging.Slow += 80 }), 10 * time.Minute, Advance, nil, ""},
		{"staging fails too often by itself", started(t, nil), with(good(1000), func(s *Seen) { s.Counts.Staging.JudgedFailed = 90 }), time.Minute, RollBack, nil, "staging failed 90 of 1,000 requests while production did not fail; 99 % sure that it fails more than 5 %"},
		{"two reasons", started(t, nil), with(worse, func(s *Seen) { s.Counts.Staging.JudgedFailed = 90 }), time.Minute, RollBack, nil, "fails more than 1.5 times as often; staging failed 90"},
		{"three of the first three", started(t, nil), Seen{Counts: Groups{Staging: Counts{Requests: 3, Judged: 3, JudgedFailed: 3}}}, time.Second, RollBack, nil, "3 of 3"},
		{"both fail alike", started(t, nil), with(good(1000), func(s *Seen) {
			s.Counts.Staging.Failed, s.Counts.Production.Failed, s.ProductionFails = 900, 8100, true
		}), time.Hour, Wait, []string{ForProduction}, ""},
		{"what looks worse takes twice as long", started(t, nil), with(good(400), func(s *Seen) { s.Counts.Staging.Failed += 9 }), 15 * time.Minute, Wait, []string{ForHold, ForRequests}, "another 5m of the 20m that a step lasts (twice as much, since staging looks worse), and staging to answer 200 more of 600 requests"},
		{"but not for ever", started(t, nil), with(good(600), func(s *Seen) { s.Counts.Staging.Failed += 10 }), 20 * time.Minute, Advance, nil, ""},
		{"a single failure is not worse", started(t, func(p *Plan) { p.Slower = 0 }), with(good(300), func(s *Seen) { s.Counts.Staging.Failed, s.Counts.Production.Failed, s.Exact = 1, 0, 1 }), 10 * time.Minute, Advance, nil, ""},
		{"the deadline is over", started(t, nil), none, 24 * time.Hour, RollBack, nil, "the deadline of 24h is over at 1 %, waiting for staging to answer 300 more"},
		{"the deadline is over before the step could begin", started(t, nil), good(300), 24 * time.Hour, RollBack, nil, "the deadline of 24h is over at 1 %, waiting for nothing"},
		{"but not a moment earlier", started(t, nil), none, 24*time.Hour - 1, Wait, []string{ForRequests, ForBound}, ""},
		{"paused by hand", byHand, good(300), 48 * time.Hour, Wait, []string{ForResume}, "paused by hand"},
		{"fails all the same", byHand, worse, time.Minute, RollBack, nil, "staging failed 25"},
		{"nothing was started", State{}, good(300), time.Hour, Wait, []string{ForStart}, ""},
		{"what was good for long is counted anew", started(t, nil), good(250), 5 * time.Minute, Renew, []string{ForHold, ForRequests}, "waiting for"},
		{"also while it is paused", byHand, good(250), 5 * time.Minute, Renew, []string{ForResume}, "paused by hand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Decide(c.state, c.seen, noon.Add(c.after))
			var waits []string
			for _, w := range d.Waits {
				waits = append(waits, w.For)
			}
			kind := d.Kind
			if kind == Renew && c.want == Wait { // the cases are not about rounds
				kind = Wait
			}
			if kind != c.want || !strings.Contains(d.Reason, c.reason) || d.Version != c.state.Version {
				t.Errorf("%s of version %d: %s; want %s: %s", d.Kind, d.Version, d.Reason, c.want, c.reason)
			}
			if (c.want == Wait || c.want == Renew) && !slices.Equal(waits, c.waits) {
				t.Errorf("waits for %v, want %v", waits, c.waits)
			}
		})
	}
}

func TestWhatIsMissingComesWithNumbers(t *testing.T) {
	d := Decide(started(t, nil), good(100), noon.Add(4*time.Minute))
	want := []Missing{
		{ForHold, 0, 6 * time.Minute, "another 6m of the 10m that a step lasts"},
		{ForRequests, 200, 8 * time.Minute, "staging to answer 200 more of 300 requests, which takes 8m at the rate so far"},
		{ForBound, 13, 31200 * time.Millisecond, "staging to answer 13 more requests well, so that it surely fails less than 5 %, which takes 32s at the rate so far"},
	}
	if !reflect.DeepEqual(d.Waits, want) {
		t.Errorf("got %+v, want %+v", d.Waits, want)
	}
	if d = Decide(started(t, nil), good(1), noon.Add(10*time.Hour)); d.Waits[0].Left != 0 || !strings.Contains(d.Reason, "longer than the deadline") {
		t.Errorf("got %+v", d.Waits)
	}
}

func TestHowSureATestIsIsNeverRoundedUp(t *testing.T) {
	for _, c := range []struct {
		evidence float64 // E
		want     string
	}{
		{1e-9, "nothing suggests"}, {1, "nothing suggests"}, {1.9, "nothing suggests"}, {2, "50 % sure"},
		{10, "90 % sure"}, {99.99, "98.9 % sure"}, {100.01, "99 % sure"}, {1e9, "99 % sure"},
	} {
		f := Finding{LogE: math.Log(c.evidence)}
		f.Alarm = f.LogE >= alarm(0.99)
		if got := howSure(f, 0.99); got != c.want {
			t.Errorf("E is %v: %s, want %s", c.evidence, got, c.want)
		}
	}
}

func TestNumbersInWords(t *testing.T) {
	for got, want := range map[string]string{
		commas(0):                              "0",
		commas(999):                            "999",
		commas(1000):                           "1,000",
		commas(-123456):                        "-123,456",
		commas(1234567):                        "1,234,567",
		percent(0.1):                           "0.1 %",
		percent(100):                           "100 %",
		percent(100 * 0.07):                    "7 %",
		percents(nil):                          "none",
		percents([]float64{1, 25}):             "1 %, 25 %",
		short(1):                               "1s",
		short(90 * time.Second):                "90s",
		short(10 * time.Minute):                "10m",
		short(time.Hour):                       "1h",
		short(20*time.Hour + 90*time.Second):   "20h2m",
		short(90*time.Minute + 29*time.Second): "1h30m",
		short(24 * time.Hour):                  "24h",
		short(10*time.Hour + 10*time.Minute + 100): "10h10m",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Whoever decides about a stored state decides the same.
func TestAStateIsWhatItWasAfterBeingStored(t *testing.T) {
	s := started(t, func(p *Plan) { p.Approve = []float64{50} })
	s, _ = s.Approve(50, noon.Add(time.Second))
	s, err := s.Apply(Decide(s, good(300), noon.Add(10*time.Minute)), noon.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var stored State
	if err := json.Unmarshal(text, &stored); err != nil || !reflect.DeepEqual(stored, s) {
		t.Errorf("%s became %+v, %v", text, stored, err)
	}
	if empty, err := json.Marshal(State{}); err != nil || strings.Contains(string(empty), "0001-01-01") {
		t.Errorf("%s, %v", empty, err)
	}
}

func BenchmarkDecide(b *testing.B) {
	b.ReportAllocs()
	s, seen := started(b, nil), good(200)
	for b.Loop() {
		Decide(s, seen, noon.Add(time.Minute))
	}
}
