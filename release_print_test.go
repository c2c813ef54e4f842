package proxyos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

var releaseDay = time.Date(2024, 5, 1, 12, 31, 7, 0, time.Local)

// exampleRelease is a release on its third of five steps.
func exampleRelease() releaseStatus {
	return releaseStatus{
		Phase: string(release.Running), Steps: []float64{1, 5, 25, 50, 100}, Step: 3, Percent: 25,
		Reason:    "waiting for another 6m of the 10m that a step lasts, and staging to answer 182 more of 300 requests, which takes 7m at the rate so far",
		StartedAt: releaseDay, ChangedAt: releaseDay.Add(20 * time.Minute), StepAt: releaseDay.Add(20 * time.Minute),
		Deadline: releaseDay.Add(24 * time.Hour), Hold: "10m0s", Lasted: "4m10s",
		Requests: 118, Production: 354, Needed: 300, Approve: []float64{50},
		Waits: []release.Missing{
			{For: release.ForHold, Left: 5*time.Minute + 50*time.Second, Text: "another 6m of the 10m that a step lasts"},
			{For: release.ForRequests, Requests: 182, Left: 7 * time.Minute, Text: "staging to answer 182 more of 300 requests, which takes 7m at the rate so far"},
		},
		Tests: []release.Finding{
			{Test: "errors", Text: "staging failed 7 of 412 requests, production 9 of 3,708; 62 % sure that it fails more than 1.5 times as often"},
			{Test: "slower", Text: "staging was slower than production's 95th percentile in 20 of 412 requests, production in 185 of 3,708; nothing suggests that it is slow more than 1.5 times as often"},
			{Test: "max_errors", Text: "staging failed 7 of 412 requests while production did not fail; nothing suggests that it fails more than 5 %"},
		},
	}
}

func overRelease(phase release.Phase, step int, reason string, failed bool) releaseStatus {
	s := exampleRelease()
	s.Phase, s.Step, s.Percent, s.Reason, s.Failed = string(phase), step, s.Steps[step-1], reason, failed
	s.Waits, s.Tests, s.Lasted, s.Requests, s.Production, s.Deadline = nil, nil, "", 0, 0, time.Time{}
	return s
}

func TestAReleaseIsPrinted(t *testing.T) {
	waiting := exampleRelease()
	waiting.Lasted, waiting.Requests, waiting.Tests = "12m0s", 1200, nil
	waiting.Reason = "waiting for somebody to approve the step of 50 %"
	waiting.Waits = []release.Missing{{For: release.ForApproval, Text: "somebody to approve the step of 50 %"}}

	paused := exampleRelease()
	paused.Phase, paused.Failed, paused.Tests = string(release.Paused), true, paused.Tests[:1]
	paused.Waits = []release.Missing{{For: release.ForResume, Text: "somebody to resume or abort it"}}
	paused.Tests[0].Alarm = true
	paused.Reason = paused.Tests[0].Text
	paused.Approved = []float64{50}

	long := exampleRelease()
	long.Steps, long.Step, long.Percent, long.Tests, long.DryRun = nil, 20, 20, nil, true
	for i := range 40 {
		long.Steps = append(long.Steps, float64(i+1))
	}

	none := releaseStatus{Phase: noRelease, Steps: []float64{1, 100}, Approve: []float64{100}, Hold: "10m0s", Needed: 300, Reason: "`caddy proxyos release start shop` starts one"}

	for _, test := range []struct {
		name   string
		status releaseStatus
		want   string
	}{
		{"running", exampleRelease(), `
release of shop: running, step 3 of 5, started 12:31:07
   1 %  done
   5 %  done
  25 %  [#######------------]  4m10s of 10m, 118 of 300 requests
  50 %  needs approval
 100 %
errors      staging failed 7 of 412 requests, production 9 of 3,708; 62 % sure
            that it fails more than 1.5 times as often
slower      staging was slower than production's 95th percentile in 20 of 412
            requests, production in 185 of 3,708; nothing suggests that it is
            slow more than 1.5 times as often
max_errors  staging failed 7 of 412 requests while production did not fail;
            nothing suggests that it fails more than 5 %
waiting for another 6m of the 10m that a step lasts, and staging to answer 182
            more of 300 requests, which takes 7m at the rate so far
deadline    2024-05-02 12:31:07; it fails if it is not over by then
`},
		{"waiting for approval", waiting, `
release of shop: running, step 3 of 5, started 12:31:07
   1 %  done
   5 %  done
  25 %  [###################]  12m of 10m, 1200 of 300 requests
  50 %  needs approval
 100 %
waiting for somebody to approve the step of 50 %
deadline    2024-05-02 12:31:07; it fails if it is not over by then
  to approve it: caddy proxyos release approve shop 50
`},
		{"paused since it failed", paused, `
release of shop: paused since it failed, step 3 of 5, started 12:31:07, changed
                 12:51:07
   1 %  done
   5 %  done
  25 %  [#######------------]  4m10s of 10m, 118 of 300 requests
  50 %  approved
 100 %
errors      staging failed 7 of 412 requests, production 9 of 3,708; 62 % sure
            that it fails more than 1.5 times as often
failed      staging failed 7 of 412 requests, production 9 of 3,708; 62 % sure
            that it fails more than 1.5 times as often
  to begin the step again: caddy proxyos release resume shop; or abort
`},
		{"rolled back", overRelease(release.RolledBack, 2, "aborted by ops@host", false), `
release of shop: rolled back, step 2 of 5, started 12:31:07, changed 12:51:07
   1 %  done
   5 %  rolled back
  25 %
  50 %
 100 %
reason      aborted by ops@host
`},
		{"done", overRelease(release.Done, 5, "staging does no worse, and the last step is over", false), `
release of shop: done, step 5 of 5, started 12:31:07, changed 12:51:07
   1 %  done
   5 %  done
  25 %  done
  50 %  done
 100 %  done
reason      staging does no worse, and the last step is over
`},
		{"many steps", long, `
release of shop: running (dry run), step 20 of 40, started 12:31:07
    …  15 steps done
 16 %  done
 17 %  done
 18 %  done
 19 %  done
 20 %  [#######------------]  4m10s of 10m, 118 of 300 requests
 21 %
 22 %
 23 %
 24 %
 25 %
 26 %
 27 %
    …  13 more
waiting for another 6m of the 10m that a step lasts, and staging to answer 182
            more of 300 requests, which takes 7m at the rate so far
deadline    2024-05-02 12:31:07; it fails if it is not over by then
`},
		{"none", none, "\nrelease of shop: none yet\n   1 %\n 100 %  needs approval\nreason      `caddy proxyos release start shop` starts one\n"},
	} {
		show := func(colors bool) string {
			var out strings.Builder
			printer{out: &out, colors: colors}.releaseBlock("shop", test.status, releaseDay.Add(time.Hour))
			return out.String()
		}
		if got := show(false); got != test.want[1:] {
			t.Errorf("%s: got\n%s\nwant%s", test.name, got, test.want)
		}
		if bare := strings.NewReplacer("\x1b[31m", "", "\x1b[35m", "", "\x1b[0m", "").Replace(show(true)); bare != test.want[1:] {
			t.Errorf("%s: color changes more than colors:\n%s", test.name, bare)
		}
	}
}

func TestABarShowsWhatTakesLonger(t *testing.T) {
	for _, test := range []struct {
		lasted, hold     string
		requests, needed int64
		hashes           int
	}{
		{"0s", "10m0s", 0, 300, 0},
		{"5m0s", "10m0s", 300, 300, 9},
		{"10m0s", "10m0s", 150, 300, 9},
		{"1h0m0s", "10m0s", 299, 300, 18}, // full only if both are
		{"1h0m0s", "10m0s", 5000, 300, 19},
		{"0s", "0s", 150, 300, 9},
		{"", "", 0, 0, 19},
	} {
		s := exampleRelease()
		s.Waits, s.Lasted, s.Hold, s.Requests, s.Needed = nil, test.lasted, test.hold, test.requests, test.needed
		if got := strings.Count(s.progress(lineWidth), "#"); got != test.hashes {
			t.Errorf("%+v: %s", test, s.progress(lineWidth))
		}
	}
}

func TestReleasesFitInto80Columns(t *testing.T) {
	hostile := exampleRelease()
	hostile.Phase, hostile.Edited = evil, strings.Repeat("e", 300)
	hostile.Reason = "paused by " + strings.Repeat("b", 200) + evil + strings.Repeat("\u202e", 100)
	hostile.Tests[0].Test, hostile.Tests[1].Text, hostile.Waits[0].For = evil, strings.Repeat(evil, 20), release.ForApproval
	large := exampleRelease()
	large.Steps, large.Step, large.Percent = []float64{1e-7, 100. / 3, 200. / 3}, 2, 100./3
	large.Lasted, large.Hold, large.Requests, large.Needed, large.Waits = "23h59m59s", "999h59m59s", 1e12, 9e14, nil
	paused := overRelease(release.Paused, 3, "paused by ops@host", false)
	for name, s := range map[string]releaseStatus{"hostile": hostile, "large": large, "paused": paused, "over": overRelease(release.RolledBack, 5, hostile.Reason, true)} {
		route := exampleRoute(strings.Repeat("n", 64), "app:3000", 3)
		route.Release = &s
		var out strings.Builder
		p := printer{out: &out}
		p.releaseBlock(route.Name, s, releaseDay)
		if err := p.list([]routeStatus{route}); err != nil {
			t.Fatal(err)
		}
		if err := p.route(route); err != nil {
			t.Fatal(err)
		}
		w := newReleaseWatch(adminClient{}, p, route.Name)
		if err := w.show(s, true); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if width := len([]rune(strings.TrimSuffix(line, "\n"))); width > lineWidth || strings.Contains(line, "\x1b") {
				t.Errorf("%s: a line of %d columns: %q", name, width, line)
			}
		}
	}
}

func TestListAndShowHaveTheRelease(t *testing.T) {
	running, paused := exampleRelease(), exampleRelease()
	paused.Phase = string(release.Paused)
	over, none := overRelease(release.RolledBack, 3, "aborted by ops@host", false), releaseStatus{Phase: noRelease, Reason: "start one"}
	for _, test := range []struct {
		status     releaseStatus
		list, show string
	}{
		{running, "shop: release running, step 3 of 5 at 25 %\n", "\n\nrelease of shop: running, step 3 of 5, started"},
		{paused, "shop: release paused, step 3 of 5 at 25 %\n", "  to go on: caddy proxyos release resume shop\n"},
		{over, "", "\nrelease: rolled back, step 3 of 5 at 25 %, 2024-05-01 12:51:07: aborted by\n         ops@host\n"},
		{none, "", "\nrelease: none yet; start one\n"},
	} {
		route := exampleRoute("shop", "app:3000", 3)
		route.Release = &test.status
		var list, show strings.Builder
		if err := (printer{out: &list}).list([]routeStatus{route}); err != nil {
			t.Fatal(err)
		}
		if err := (printer{out: &show}).route(route); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(list.String(), test.list) || test.list == "" && strings.Contains(list.String(), "release") || !strings.Contains(show.String(), test.show) {
			t.Errorf("%s is listed as\n%sand shown as\n%s", test.status.Phase, &list, &show)
		}
	}
}

func TestDurationsAreShort(t *testing.T) {
	for text, want := range map[string]string{"0s": "0s", "4m10s": "4m10s", "10m": "10m", "1h": "1h", "1h0m5s": "1h0m5s", "1h30m": "1h30m", "24h": "24h", "1.6s": "2s"} {
		d, err := time.ParseDuration(text)
		if got := durationText(d); err != nil || got != want {
			t.Errorf("%s: %s, want %s, %v", text, got, want, err)
		}
	}
	if got := fmt.Sprint(clockText(releaseDay, releaseDay.Add(time.Hour)), " ", clockText(releaseDay, releaseDay.Add(24*time.Hour))); got != "12:31:07 2024-05-01 12:31:07" {
		t.Error(got)
	}
}
