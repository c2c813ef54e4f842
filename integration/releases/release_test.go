package releases

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// A good version goes through all steps, under load: no request fails, and each step's share is exact.
func TestAGoodReleaseIsDone(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	steps, config := []float64{1, 5, 25, 50, 100}, quick
	if !isLong {
		steps, config = []float64{5, 50, 100}, strings.Replace(quick, "1 5 25 50 100", "5 50 100", 1)
	}
	eachForm(t, lab.BlueGreenDirective(prod.Addr, stag.Addr, config), func(t *testing.T, s *server) {
		l := drive(t, s, 32, 0)
		if started := act(s, `{"action": "start", "by": "ops@web1"}`); started.Phase != "running" || started.Percent != steps[0] || started.Change != "started by ops@web1" {
			t.Errorf("once started, it is %+v", started)
		}
		var had []float64
		for now := statusOf(s); now.Phase == "running"; now = statusOf(s) {
			if slices.Contains(had, now.Percent) {
				time.Sleep(20 * time.Millisecond)
				continue
			}
			had = append(had, now.Percent)
			l.hold.Lock()
			before := statusOf(s)
			time.Sleep(1100 * time.Millisecond) // until all that was answered is counted
			after := statusOf(s)
			l.hold.Unlock()
			if before.Percent != after.Percent || after.Phase != "running" {
				t.Logf("it went on meanwhile: %+v", after)
				continue
			}
			if all := float64(after.Requests + after.Production); math.Abs(float64(after.Requests)-all*after.Percent/100) > 1 {
				t.Errorf("at %v %%, staging has answered %d of %v requests", after.Percent, after.Requests, all)
			}
		}
		done := awaitPhase(s, "done", time.Second)
		l.stop()
		if !slices.Equal(had, steps) {
			t.Errorf("its steps were %v", had)
		}
		if l.failed.Load() > 0 {
			t.Errorf("%d of %d requests failed", l.failed.Load(), l.sent.Load())
		}
		if r := s.Route(); r.TrafficSplit != 100 || done.Step != len(steps) {
			t.Errorf("once it is done, the share is %v %%, and it is %+v", r.TrafficSplit, done)
		}
		if m := s.Metrics(); m[`caddy_proxyos_release_state{route="app"}`] != 3 || m[`caddy_proxyos_release_step{route="app"}`] != 0 {
			t.Errorf("the metrics say %v at step %v", m[`caddy_proxyos_release_state{route="app"}`], m[`caddy_proxyos_release_step{route="app"}`])
		}
		t.Logf("%d requests, %d of them by staging", l.sent.Load(), l.ofStaging.Load())
	})
}

// Ways in which the next version can be bad.
func TestABadReleaseIsRolledBack(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*backend){
		"it fails":       func(b *backend) { sick(b, 5, http.StatusInternalServerError) },
		"it dies":        func(b *backend) { b.Stop() },
		"it hangs":       func(b *backend) { b.Answer(func(http.ResponseWriter, *http.Request) { time.Sleep(3 * time.Second) }) },
		"it breaks off":  func(b *backend) { b.Answer(breakOff) },
		"it hangs up":    func(b *backend) { b.Answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) },
		"it fails badly": func(b *backend) { sick(b, 1, http.StatusBadGateway) },
	}
	if !isLong {
		maps.DeleteFunc(ways, func(name string, _ func(*backend)) bool { return name != "it fails" && name != "it dies" })
	}
	for name, spoil := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prod, stag := backends(t)
			s := lab.NewApart(t)
			s.MustLoad(s.BlueGreen(prod, stag, slowly, "transport http {\n\t\tresponse_header_timeout 500ms\n\t}"))
			l := drive(t, s, 16, time.Millisecond)
			act(s, `{"action": "start"}`)
			eventually(t, "it is at 25 %", func() bool { return statusOf(s).Percent == 25 })
			before := l.failed.Load()
			spoil(stag)
			began := time.Now()
			over := awaitPhase(s, "rolled_back", 10*time.Second)
			took := time.Since(began)
			if took > 3*time.Second { // 2 s, and what the tests wait for
				t.Errorf("it was rolled back after %s", took)
			}
			if got := s.Route().TrafficSplit; got != 0 {
				t.Errorf("the share is %v %%", got)
			}
			if !strings.Contains(over.Reason, "sure that it fails more than") || !strings.Contains(over.Reason, "staging failed ") {
				t.Errorf("the reason is %q", over.Reason)
			}
			failed := l.failed.Load()
			time.Sleep(700 * time.Millisecond) // until those that had been sent are answered
			rest := l.failed.Load()
			l.sent.Store(0)
			l.ofStaging.Store(0)
			time.Sleep(300 * time.Millisecond)
			l.stop()
			if l.failed.Load() != rest || l.ofStaging.Load() > 0 {
				t.Errorf("after it was rolled back, %d of %d requests failed, and staging answered %d", l.failed.Load()-rest, l.sent.Load(), l.ofStaging.Load())
			}
			t.Logf("rolled back after %s and %d failed requests; %s", took.Round(time.Millisecond), failed-before, over.Reason)
		})
	}
}

// A version that hangs answers nothing, and a release does not go on. It is found once clients have had
// enough.
func TestAVersionThatHangsIsFoundWhenClientsLeave(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	s := lab.NewApart(t)
	s.MustLoad(s.BlueGreen(prod, stag, "release {\nsteps 25 50\nhold 40s\nmin_requests 20\n}"))
	drive(t, s, 32, 5*time.Millisecond)
	act(s, `{"action": "start"}`)
	eventually(t, "production's 95th percentile is known", func() bool {
		return slices.ContainsFunc(statusOf(s).Tests, func(f finding) bool {
			return f.Test == "slower" && strings.Contains(f.Text, "staging was slower than production's 95th percentile in ")
		})
	})
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	stag.Answer(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	eventually(t, "it waits for answers", func() bool {
		return strings.Contains(statusOf(s).Reason, "staging to answer: it has had requests in flight")
	})
	driveWithin(t, s, 32, 5*time.Millisecond, 300*time.Millisecond)
	over := awaitPhase(s, "rolled_back", 15*time.Second)
	if !strings.Contains(over.Reason, "sure that it is slow more than") {
		t.Errorf("the reason is %q", over.Reason)
	}
}

// breakOff promises more than it sends.
func breakOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	fmt.Fprint(w, "half")
}

// What fails in both groups is not the next version's fault.
func TestAReleaseWaitsWhileProductionFailsToo(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	s := lab.NewApart(t)
	s.MustLoad(s.BlueGreen(prod, stag, slowly))
	drive(t, s, 16, time.Millisecond)
	act(s, `{"action": "start"}`)
	eventually(t, "it is at 25 %", func() bool { return statusOf(s).Percent == 25 })
	sick(prod, 1, http.StatusInternalServerError)
	sick(stag, 1, http.StatusInternalServerError)
	eventually(t, "it waits for production", func() bool { return strings.Contains(statusOf(s).Reason, "production to recover") })
	time.Sleep(2 * time.Second) // longer than the step lasts
	now := statusOf(s)
	if now.Phase != "running" || now.Percent != 25 || !strings.Contains(now.Reason, "production to recover") {
		t.Errorf("while both groups fail, it is %+v", now)
	}
	sick(prod, math.MaxInt64, 0)
	sick(stag, math.MaxInt64, 0)
	awaitPhase(s, "done", time.Minute)
}

// A person approves, pauses, resumes and aborts; what makes no sense is refused in words.
func TestAPersonSteersARelease(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	s := lab.NewApart(t)
	s.MustLoad(s.BlueGreen(prod, stag, "release {\nsteps 10 50\nhold 1s\nmin_requests 20\nslower off\napprove 50\n}"))
	drive(t, s, 8, time.Millisecond)
	for _, test := range []struct{ body, want string }{
		{`{"action": "pause"}`, "there is no release to pause"},
		{`{"action": "approve", "percent": 50}`, "there is no release to approve"},
	} {
		if why := refused(s, http.StatusConflict, test.body); !strings.Contains(why, test.want) {
			t.Errorf("%s is refused with %q, want %q", test.body, why, test.want)
		}
	}
	for body, want := range map[string]string{
		`{"action": "begin"}`:               `"begin" is none`,
		`{}`:                                "action is missing",
		`{"action": "approve"}`:             "percent is missing",
		`{"action": "start", "percent": 5}`: "percent: 5 is only for the action",
		`{"action": "start", "speed": 11}`:  "unknown field",
	} {
		if why := refused(s, http.StatusBadRequest, body); !strings.Contains(why, want) {
			t.Errorf("%s is refused with %q, want %q", body, why, want)
		}
	}
	act(s, `{"action": "start"}`)
	if why := refused(s, http.StatusConflict, `{"action": "start"}`); !strings.Contains(why, "a release is running at 10 %") {
		t.Errorf("a second start is refused with %q", why)
	}
	eventually(t, "it waits for approval", func() bool { return strings.Contains(statusOf(s).Reason, "approve the step of 50 %") })
	time.Sleep(2 * time.Second)
	if now := statusOf(s); now.Percent != 10 {
		t.Errorf("without approval it is at %v %%", now.Percent)
	}
	if why := refused(s, http.StatusConflict, `{"action": "approve", "percent": 25}`); !strings.Contains(why, "needs no approval") {
		t.Errorf("approving what is no step is refused with %q", why)
	}
	act(s, `{"action": "pause", "by": "ops"}`)
	act(s, `{"action": "approve", "percent": 50, "by": "boss"}`)
	time.Sleep(2 * time.Second)
	if now := statusOf(s); now.Phase != "paused" || now.Percent != 10 {
		t.Errorf("while it is paused, it is %+v", now)
	}
	act(s, `{"action": "resume"}`)
	eventually(t, "it is at 50 %", func() bool { return s.Route().TrafficSplit == 50 })
	if over := act(s, `{"action": "abort", "by": "ops"}`); over.Phase != "rolled_back" || over.Reason != "aborted by ops" || s.Route().TrafficSplit != 0 {
		t.Errorf("once aborted, it is %+v", over)
	}
	act(s, `{"action": "start"}`) // another one
	s.Split(33)
	if over := statusOf(s); over.Phase != "stopped" || !strings.Contains(over.Reason, "the share was set to 33 % by") {
		t.Errorf("after the share was set by hand, it is %+v", over)
	}
}

// A release goes on through reloads, and takes on steps that are edited meanwhile.
func TestAReleaseGoesOnThroughReloads(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	s := lab.NewApart(t)
	config := func(steps string) string {
		return s.BlueGreen(prod, stag, "release {\nsteps "+steps+"\nhold 1s\nmin_requests 20\nslower off\n}")
	}
	s.MustLoad(config("10 20 100"))
	l := drive(t, s, 8, time.Millisecond)
	act(s, `{"action": "start"}`)
	s.MustLoad(config("10 30 60"))
	if now := statusOf(s); now.Percent != 10 || !strings.Contains(now.Edited, "apply from the next step on") {
		t.Errorf("after the edit it is %+v", now)
	}
	var shares []float64
	for now := statusOf(s); now.Phase == "running"; now = statusOf(s) {
		if !slices.Contains(shares, now.Percent) {
			shares = append(shares, now.Percent)
		}
		time.Sleep(50 * time.Millisecond)
	}
	awaitPhase(s, "done", time.Second)
	l.stop()
	if !slices.Equal(shares, []float64{10, 30, 60}) {
		t.Errorf("its steps were %v", shares)
	}
	if got := s.Route().TrafficSplit; got != 60 {
		t.Errorf("the share is %v %%", got)
	}
}

// A dry run decides and tells, and leaves the share as it is.
func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	s := lab.NewApart(t)
	s.MustLoad(s.BlueGreen(prod, stag, "traffic_split 20\nrelease {\nsteps 10 50\nhold 1s\nmin_requests 20\nslower off\ndry_run\n}"))
	drive(t, s, 8, time.Millisecond)
	act(s, `{"action": "start"}`)
	for now := statusOf(s); now.Phase == "running"; now = statusOf(s) {
		if got := s.Route().TrafficSplit; got != 20 {
			t.Fatalf("in a dry run, the share is %v %%", got)
		}
		time.Sleep(50 * time.Millisecond)
	}
	awaitPhase(s, "done", time.Second)
}

// Without traffic, it never goes on.
func TestAReleaseWithoutTrafficFails(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	for _, onFail := range []string{"rollback", "pause"} {
		t.Run(onFail, func(t *testing.T) {
			t.Parallel()
			s := lab.NewApart(t)
			s.MustLoad(s.BlueGreen(prod, stag, "release {\nsteps 10 50\nhold 500ms\ndeadline 2s\non_fail "+onFail+"\n}"))
			act(s, `{"action": "start"}`)
			phase, share := "rolled_back", 0.0
			if onFail == "pause" {
				phase, share = "paused", 10
			}
			over := awaitPhase(s, phase, 10*time.Second)
			if got := s.Route().TrafficSplit; got != share || over.Step != 1 || !strings.Contains(over.Reason, "the deadline of 2s is over at 10 %") {
				t.Errorf("after its deadline the share is %v %%, and it is %+v", got, over)
			}
		})
	}
}

// A start towards a staging that is not there is refused.
func TestAReleaseOfNobodyIsRefused(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	s := lab.NewApart(t)
	s.MustLoad(s.BlueGreen(prod, stag, quick))
	stag.Stop()
	if why := refused(s, http.StatusConflict, `{"action": "start"}`); !strings.Contains(why, "staging cannot serve requests") {
		t.Errorf("it is refused with %q", why)
	}
	act(s, `{"action": "start", "force": true}`)
	s.MustLoad(s.BlueGreen(prod, stag))
	awaitPhase(s, "stopped", 5*time.Second)
	if why := refused(s, http.StatusConflict, `{"action": "start"}`); !strings.Contains(why, "no `release` in its config") {
		t.Errorf("without `release` it is refused with %q", why)
	}
}
