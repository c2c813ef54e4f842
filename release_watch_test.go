package proxyos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// fakeAdmin is an admin API that tells one status after the other. A nil one is that it does not
// answer. The last is told forever.
type fakeAdmin struct {
	*httptest.Server
	mu       sync.Mutex
	statuses []*releaseStatus
	asked    int
	changes  []releaseChange
	conflict int // how many changes are refused
}

func newFakeAdmin(t *testing.T, statuses ...*releaseStatus) *fakeAdmin {
	t.Helper()
	f := &fakeAdmin{statuses: statuses}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.URL.Path {
	case "/proxyos/routes":
		_ = respond(w, []routeStatus{{Name: "shop", Release: new(exampleRelease())}, {Name: "other"}})
		return
	case "/proxyos/routes/shop/release":
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error": "there is no proxyos route"}`)
		return
	}
	if r.Method == http.MethodPost {
		var change releaseChange
		_ = json.NewDecoder(r.Body).Decode(&change)
		f.changes = append(f.changes, change)
		if f.conflict > 0 {
			f.conflict--
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"error": "it has changed meanwhile"}`)
			return
		}
	}
	f.asked++
	status := f.statuses[0]
	if len(f.statuses) > 1 {
		f.statuses = f.statuses[1:]
	}
	if status == nil {
		panic(http.ErrAbortHandler) // the connection breaks
	}
	_ = respond(w, status)
}

func (f *fakeAdmin) client(ctx context.Context) adminClient {
	return adminClient{ctx, f.Listener.Addr().String()}
}

// watched watches the releases of a fakeAdmin, and returns what is printed without the time.
func (f *fakeAdmin) watched(t *testing.T, asJSON bool, adjust func(*releaseWatch)) (code int, out, notes string, err error) {
	t.Helper()
	var printed, noted bytes.Buffer
	c := f.client(t.Context())
	first, err := c.release("shop")
	if err != nil {
		t.Fatal(err)
	}
	w := newReleaseWatch(c, printer{out: &printed, notes: &noted, json: asJSON}, "shop")
	w.interval = 2 * time.Millisecond
	if adjust != nil {
		adjust(w)
	}
	code, err = w.run(first)
	var lines strings.Builder
	for line := range strings.Lines(printed.String()) {
		if at, rest, ok := strings.Cut(line, "  "); ok && len(at) == len(time.TimeOnly) && at[2] == ':' {
			line = rest
		}
		lines.WriteString(line)
	}
	return code, lines.String(), noted.String(), err
}

func at(s releaseStatus, edit func(*releaseStatus)) *releaseStatus {
	edit(&s)
	return &s
}

func TestAWatchTellsEachChangeAndHowItEnds(t *testing.T) {
	first := at(exampleRelease(), func(s *releaseStatus) {
		s.Step, s.Percent, s.Lasted, s.Requests, s.Approve, s.Tests = 1, 1, "0s", 0, nil, nil
		s.Reason, s.Waits = "started by ops@host", nil
	})
	later := at(*first, func(s *releaseStatus) {
		s.Waits, s.Reason, s.Lasted = []release.Missing{{For: release.ForHold}}, "waiting for another 9m of the 10m that a step lasts", "1m0s"
	})
	stillLater := at(*later, func(s *releaseStatus) {
		s.Reason, s.Lasted, s.Requests = "waiting for another 8m of the 10m that a step lasts", "2m0s", 50
	})
	second := at(*later, func(s *releaseStatus) { s.Step, s.Percent, s.Lasted = 2, 5, "5s" })
	const begin = `running, step 1 of 5 at 1 %, 0s of 10m, 0 of 300 requests
          started by ops@host
running, step 1 of 5 at 1 %, 1m of 10m, 0 of 300 requests
          waiting for another 9m of the 10m that a step lasts
running, step 2 of 5 at 5 %, 5s of 10m, 0 of 300 requests
          waiting for another 9m of the 10m that a step lasts
`
	for _, test := range []struct {
		last releaseStatus
		code int
		want string
		err  string
	}{
		{overRelease(release.Done, 5, "staging does no worse, and the last step is over", false), 0,
			"done, step 5 of 5 at 100 %\n          staging does no worse, and the last step is over\n", ""},
		{overRelease(release.RolledBack, 2, "staging failed 9 of 40 requests", true), exitRolledBack,
			"rolled back, step 2 of 5 at 5 %\n          staging failed 9 of 40 requests\n", "is not done: it is rolled back"},
		{overRelease(release.Stopped, 2, "the share was set to 30 % by ops@host", false), exitRolledBack,
			"stopped, step 2 of 5 at 5 %\n          the share was set to 30 % by ops@host\n", "is not done: it is stopped"},
		{*at(*second, func(s *releaseStatus) { s.Phase, s.Reason = string(release.Paused), "paused by ops@host" }), exitPaused,
			"paused, step 2 of 5 at 5 %, 5s of 10m, 0 of 300 requests\n          paused by ops@host\n", "is paused; `caddy proxyos release resume shop`"},
		{*at(*second, func(s *releaseStatus) { s.Phase, s.Failed, s.Reason = string(release.Paused), true, "it is slow" }), exitPaused,
			"paused since it failed, step 2 of 5 at 5 %, 5s of 10m, 0 of 300\n          requests\n          it is slow\n", "is paused"},
		{*at(*second, func(s *releaseStatus) { s.Phase, s.Reason = "frozen", "it is cold" }), exitFailed, "frozen, step 2 of 5 at 5 %\n          it is cold\n", "does not know"},
	} {
		statuses := []*releaseStatus{first, first, later, stillLater, later, second, second, &test.last}
		code, out, notes, err := newFakeAdmin(t, statuses...).watched(t, false, nil)
		if code != test.code || out != begin+test.want || notes != "" || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s ends with %d, %v, %q:\n%s\nwant\n%s", test.last.Phase, code, err, notes, out, begin+test.want)
		}

		_, out, _, _ = newFakeAdmin(t, statuses...).watched(t, true, nil)
		var phases []string
		for line := range strings.Lines(out) {
			var s releaseStatus
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			phases = append(phases, fmt.Sprint(s.Phase, s.Step))
		}
		if got, want := fmt.Sprint(phases), fmt.Sprintf("[running1 running1 running2 %s%d]", test.last.Phase, test.last.Step); got != want {
			t.Errorf("with --json, it prints %s, want %s", got, want)
		}
	}
}

func TestAWatchPrintsALineNowAndThen(t *testing.T) {
	running := exampleRelease()
	f := newFakeAdmin(t, &running, &running, &running, &running, new(overRelease(release.Done, 5, "nothing was found", false)))
	var minutes time.Duration
	_, out, _, err := f.watched(t, false, func(w *releaseWatch) {
		w.now = func() time.Time { minutes++; return releaseDay.Add(minutes * 10 * time.Second) }
		w.quiet, w.patience = 15*time.Second, time.Hour
	})
	if got := strings.Count(out, "running, step 3 of 5 at 25 %, 4m10s of 10m, 118 of 300 requests\n"); err != nil || got < 2 {
		t.Errorf("%d lines, %v:\n%s", got, err, out)
	}
	if got := strings.Count(out, "waiting for"); got != 1 {
		t.Errorf("the reason, which has not changed, is there %d times:\n%s", got, out)
	}
}

// Caddy may restart: nothing answers for a while, and then it may not have read its storage yet.
func TestAWatchGoesOnWhenCaddyIsBack(t *testing.T) {
	running, none := exampleRelease(), releaseStatus{Phase: noRelease}
	over := overRelease(release.Done, 5, "nothing was found", false)
	code, out, notes, err := newFakeAdmin(t, &running, nil, nil, &none, &running, nil, &over).watched(t, false, nil)
	if code != 0 || err != nil || !strings.Contains(out, "done, step 5 of 5") || strings.Count(out, "waiting for") != 2 {
		t.Errorf("it ends with %d, %v:\n%s", code, err, out)
	}
	if got := strings.Count(notes, "Error: nothing answers"); got != 2 || !strings.Contains(strings.Join(strings.Fields(notes), " "), "asking again for 1m") {
		t.Errorf("the notes are\n%s", notes)
	}
}

func TestAWatchGivesUpInTheEnd(t *testing.T) {
	running := exampleRelease()
	soon := func(w *releaseWatch) { w.patience = 30 * time.Millisecond }
	for name, test := range map[string]struct {
		then *releaseStatus
		want string
	}{
		"does not answer":     {nil, "nothing has been heard of the release of route \"shop\" for 0s, and it may go on: nothing answers"},
		"has no release":      {&releaseStatus{Phase: noRelease}, "no release of route \"shop\" is known there any more"},
		"has another release": {at(running, func(s *releaseStatus) { s.StartedAt = releaseDay.Add(time.Hour) }), "another one was started at"},
	} {
		code, _, _, err := newFakeAdmin(t, &running, test.then).watched(t, false, soon)
		if code != exitFailed || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("if it %s, it ends with %d, %v", name, code, err)
		}
	}

	// one that accepts and says nothing is not waited for
	hangs := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-hangs:
		}
	}))
	defer server.Close()
	defer close(hangs)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := newReleaseWatch(adminClient{t.Context(), server.Listener.Addr().String()}, printer{}, "shop")
	if _, err := w.look(ctx); err == nil {
		t.Error("a silent server is no error")
	}
}

func TestCtrlCLeavesTheReleaseAsItIs(t *testing.T) {
	running := exampleRelease()
	f := newFakeAdmin(t, &running)
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			f.mu.Lock()
			asked := f.asked
			f.mu.Unlock()
			if asked > 3 { // so somebody takes the signal
				_ = self.Signal(os.Interrupt)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, _, _, err := f.watched(t, false, nil)
	if code != exitFailed || err == nil || !strings.Contains(err.Error(), "goes on without this command") || len(f.changes) != 0 {
		t.Errorf("it ends with %d, %v, after the changes %v", code, err, f.changes)
	}
}

// ranRelease runs a command and returns its output. The exit codes of whole commands are tested in
// integration/steering.
func ranRelease(f *fakeAdmin, line string) (out, notes string, err error) {
	root, proxyos := &cobra.Command{Use: "caddy", SilenceUsage: true}, &cobra.Command{Use: "proxyos"}
	root.AddCommand(proxyos)
	proxyos.AddCommand(releaseCommand())
	proxyos.SetFlagErrorFunc(wrongFlag)
	var printed, noted bytes.Buffer
	root.SetOut(&printed)
	root.SetErr(&noted)
	root.SetArgs(slices.Concat([]string{"proxyos", "release"}, strings.Fields(line), []string{"--address", f.Listener.Addr().String()}))
	err = root.Execute()
	return printed.String(), strings.Join(strings.Fields(noted.String()), " "), err
}

func TestReleaseCommandsSendTheirAction(t *testing.T) {
	status := exampleRelease()
	status.Approve = []float64{5, 50, 100}
	for line, want := range map[string]string{
		"start shop":         `{start <nil> false}`,
		"start shop --force": `{start <nil> true}`,
		"pause shop":         `{pause <nil> false}`,
		"resume shop":        `{resume <nil> false}`,
		"abort shop":         `{abort <nil> false}`,
		"approve shop":       `{approve 50 false}`, // the next that waits
		"approve shop 100":   `{approve 100 false}`,
		"approve shop 50.0%": `{approve 50 false}`,
		"status shop":        ``,
	} {
		f := newFakeAdmin(t, &status)
		out, notes, err := ranRelease(f, line)
		got := ""
		for _, c := range f.changes {
			step := any(nil)
			if c.Percent != nil {
				step = *c.Percent
			}
			got += fmt.Sprint("{", c.Action, " ", step, " ", c.Force, "}")
			if !strings.Contains(c.By, "@") {
				t.Errorf("%s: by %q", line, c.By)
			}
		}
		if err != nil || notes != "" || got != want || !strings.HasPrefix(out, "release of shop: running, step 3 of 5") {
			t.Errorf("%s sends %s, want %s; it prints, with %v, %s\n%s", line, got, want, err, notes, out)
		}
		if out, _, err = ranRelease(f, line+" --json"); err != nil || json.Unmarshal([]byte(out), new(releaseStatus)) != nil {
			t.Errorf("%s --json prints, with %v,\n%s", line, err, out)
		}
	}
}

// Who pauses or aborts means the release wherever it is.
func TestOnlyPausingAndAbortingAreTriedAgain(t *testing.T) {
	for action, tries := range map[string]int{"start": 1, "resume": 1, "approve": 1, "pause": 2, "abort": 2} {
		f := newFakeAdmin(t, new(exampleRelease()))
		f.conflict = 1
		_, notes, err := ranRelease(f, action+" shop")
		if len(f.changes) != tries || (err == nil) != (tries == 2) || err != nil && !strings.Contains(notes, "it has changed meanwhile") {
			t.Errorf("%s is sent %d times, and ends with %v: %s", action, len(f.changes), err, notes)
		}
	}
}

func TestWrongUsesOfRelease(t *testing.T) {
	running, none := exampleRelease(), releaseStatus{Phase: noRelease, Reason: "start one"}
	running.Approve = nil
	for _, test := range []struct {
		line   string
		status releaseStatus
		want   string
	}{
		{"strat shop", running, `there is no command "strat"; did you mean start?`},
		{"stats shop", running, `did you mean start or status?`},
		{"shop start", running, "there is no command \"shop\"; write it after start: `caddy proxyos release start shop`"},
		{"deploy shop", running, "there is no command \"deploy\"; `caddy proxyos release --help` lists them"},
		{"start", running, "start: <name> is missing"},
		{"start shop now", running, `start: "now" is one argument too many`},
		{"start shop --wach", running, "`caddy proxyos release start --help` lists the flags"},
		{"pause shop --watch", running, "unknown flag: --watch"},
		{"approve", running, "approve: <name> is missing"},
		{"approve shop half", running, `"half" is not a percentage`},
		{"approve shop 150", running, `"150" is outside 0 to 100`},
		{"approve shop -5", running, `"-5" is outside 0 to 100`},
		{"approve shop 5 10", running, `"10" is one argument too many`},
		{"approve shop", running, `no step of the release of route "shop" waits for approval`},
		{"approve shop", none, `no release of route "shop" is running`},
		{"approve shop", overRelease(release.Done, 5, "", false), `no release of route "shop" is running`},
		{"status shop --watch", none, `route "shop" has no release to watch; start one`},
		{"status shpo", running, `there is no proxyos route named "shpo"; did you mean shop?`},
		{"abort shpo", running, `did you mean shop?`},
	} {
		f := newFakeAdmin(t, &test.status)
		out, notes, err := ranRelease(f, test.line)
		if err == nil || out != "" || !strings.HasPrefix(notes, "Error: ") || !strings.Contains(notes, test.want) || len(f.changes) > 0 && !strings.Contains(test.line, "shpo") {
			t.Errorf("%s ends with %v, and prints\n%s%s", test.line, err, out, notes)
		}
	}
}

func TestRoutesAndStepsOfReleasesComplete(t *testing.T) {
	status := exampleRelease()
	status.Approve, status.Approved = []float64{5, 50, 99.5, 100}, []float64{50}
	status.Steps = []float64{1, 5, 25, 50, 99.5, 100}
	f := newFakeAdmin(t, &status)
	o := &steerOptions{address: f.Listener.Addr().String()}
	for _, command := range releaseCommand().Commands() {
		if err := command.Flags().Set("address", o.address); err != nil {
			t.Fatal(err)
		}
		if got, _ := command.ValidArgsFunction(command, nil, ""); fmt.Sprint(got) != "[shop]" {
			t.Errorf("%s completes the names to %v", command.Name(), got)
		}
		want := "[]"
		if command.Name() == actionApprove {
			want = "[99.5 100]"
		}
		if got, _ := command.ValidArgsFunction(command, []string{"shop"}, ""); fmt.Sprint(got) != want {
			t.Errorf("after the name, %s completes to %v, want %s", command.Name(), got, want)
		}
	}
}
