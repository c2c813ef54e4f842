package dashboard

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// viewed is the view of a snapshot that somebody may steer by.
func viewed(s *Snapshot, route string) *view {
	return newView(topic{route, true}, &state{snapshot: s, refs: refs(s.Routes), now: time.Now()}, NewHistory(), new(pageCache))
}

func TestAReleaseHasTheButtonsOfItsPhase(t *testing.T) {
	for _, c := range []struct {
		phase, text, class string
		buttons            []string
		marks              []string
	}{
		{"none", "not started", plain, []string{"start"}, []string{"", "to be approved", ""}},
		{"running", "running", good, []string{"abort", "pause", "s1.approve"}, []string{"now", "to be approved", ""}},
		{"paused", "paused", warn, []string{"abort", "resume", "s1.approve"}, []string{"paused here", "to be approved", ""}},
		{"rolled_back", "rolled back", bad, []string{"start"}, []string{"rolled back here", "to be approved", ""}},
		{"stopped", "stopped", plain, []string{"start"}, []string{"stopped here", "to be approved", ""}},
		{"done", "done", good, []string{"start"}, []string{"done", "done", "done"}},
	} {
		s := twoRoutes()
		s.Routes[0].Release.Phase = c.phase
		v := viewed(s, "shop")
		var buttons, marks []string
		for _, cell := range v.Cells {
			name, ok := strings.CutPrefix(cell.Name, "release.")
			switch {
			case ok && cell.Value == "" && slices.Contains([]string{"start", "pause", "resume", "abort"}, name), strings.HasSuffix(name, ".approve") && cell.Value == "":
				buttons = append(buttons, name)
			case strings.HasSuffix(name, ".mark"):
				marks = append(marks, cell.Value)
			}
		}
		slices.Sort(buttons)
		r := v.Route.Release
		if !slices.Equal(buttons, c.buttons) || !slices.Equal(marks, c.marks) || r.Phase.Value != c.text || r.Class.Value != c.class {
			t.Errorf("%s: %q as %q with the buttons %q and the marks %q; want %q as %q, %q and %q",
				c.phase, r.Phase.Value, r.Class.Value, buttons, marks, c.text, c.class, c.buttons, c.marks)
		}
	}
}

func TestTheLastFiftyChangesAreShown(t *testing.T) {
	s := twoRoutes()
	s.Changes = nil
	for i := range 120 {
		s.Changes = append(s.Changes, Change{Route: []string{"shop", "other"}[i%2], From: strconv.Itoa(i), Cause: map[bool]string{true: "by a release"}[i == 0]})
	}
	for route, want := range map[string][]int{"": {50, 0, 49}, "shop": {10, 0, 18}} {
		v := viewed(s, route)
		var rows []changeRow
		if route == "" {
			rows = v.Overview.Changes.Rows
		} else {
			rows = v.Route.Changes.Rows
		}
		if len(rows) != want[0] || rows[0].From.Value != strconv.Itoa(want[1]) || rows[len(rows)-1].From.Value != strconv.Itoa(want[2]) {
			t.Errorf("%q: %d rows, from %q to %q", route, len(rows), rows[0].From.Value, rows[len(rows)-1].From.Value)
		}
		if rows[0].How.Value != "by a release" || rows[1].How.Value != "by hand" {
			t.Errorf("%q: %q, %q", route, rows[0].How.Value, rows[1].How.Value)
		}
	}
}

func TestUpstreamsTellTheirState(t *testing.T) {
	at := time.Now()
	for _, c := range []struct {
		edit func(*Upstream)
		want string
	}{
		{func(*Upstream) {}, "ready"},
		{func(u *Upstream) { u.Backup = true }, "backup"},
		{func(u *Upstream) { u.WarmUp = 0.4 }, "ready, 40 % warm"},
		{func(u *Upstream) { u.Repeated = true }, "ready, listed again"},
		{func(u *Upstream) { u.Drained, u.SetAt, u.SetBy = true, at, "anna" }, "drained, set " + at.Format(time.TimeOnly) + " by anna"},
		{func(u *Upstream) { u.Drained, u.Backup, u.SetAt = true, true, at }, "drained, set " + at.Format(time.TimeOnly) + " by –"},
	} {
		u := upstream("a:80")
		c.edit(&u)
		if got, _ := stateText(&u, at); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestUpstreamsThatAreListedAgainAreSteeredOnce(t *testing.T) {
	s := twoRoutes()
	again := s.Routes[0].Groups[0].Upstreams[0]
	again.Repeated = true
	s.Routes[0].Groups[0].Upstreams = append(s.Routes[0].Groups[0].Upstreams, again)
	for i, want := range []bool{true, true, false} {
		if got := viewed(s, "shop").Route.Groups[0].Upstreams[i].Steers; got != want {
			t.Errorf("upstream %d is steered: %t", i, got)
		}
	}
}

func TestTwoRoutesOfOneLabelAreTwoPages(t *testing.T) {
	s := &Snapshot{Routes: []Route{plainRoute(), plainRoute()}}
	s.Routes[1].Groups[0].Upstreams[0].Address = "second"
	if got := viewed(s, "nas.example.com #2").Route.Groups[0].Upstreams[0].Address; got != "second" {
		t.Errorf("the second route has the upstream %s", got)
	}
	if v := viewed(s, "nas.example.com #3"); v.Route != nil || v.Missing == "" {
		t.Error("there is a third one")
	}
}
