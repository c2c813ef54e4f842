package proxyos

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTablesFitInto80Columns(t *testing.T) {
	small := exampleRoute("app", "app:3000", 3)
	large := exampleRoute(strings.Repeat("n", 64), strings.Repeat("h", 60)+".example.com:8443", 9_999_999)
	large.TrafficSplit, large.ConfiguredSplit = 100./3, 1e-7
	large.Override.SetBy = strings.Repeat("b", 200)
	large.Groups[0].Failing, large.Groups[1].Failing = 9_999_999, 9_999_999
	unnamed := routeStatus{Groups: []groupStatus{{Name: production, Dynamic: true}}}
	for name, print := range map[string]func(printer) error{
		"list":         func(p printer) error { return p.list([]routeStatus{small, large, unnamed}) },
		"show a small": func(p printer) error { return p.route(small) },
		"show a large": func(p printer) error { return p.route(large) },
	} {
		var out bytes.Buffer
		if err := print(printer{out: &out}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for line := range strings.Lines(out.String()) {
			if width := len([]rune(strings.TrimSuffix(line, "\n"))); width > 80 {
				t.Errorf("%s: a line of %d columns:\n%s", name, width, line)
			}
		}
	}
}

func TestTableAlignsColumnsAndWrapsTheLast(t *testing.T) {
	var out bytes.Buffer
	table(&out, "  ", [][]string{
		{"NAME", "WHAT", "NOTE"},
		{"grün", "a longer cell", strings.Repeat("word ", 14) + "end"},
		{"", "b", ""},
	}, nil)
	const want = `  NAME  WHAT           NOTE
  grün  a longer cell  word word word word word word word word word word word
                       word word word end
        b
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestShortNamesAndAddressesArePrintedInFull(t *testing.T) {
	var out bytes.Buffer
	route := exampleRoute("shop.example", "10.20.30.40:8443", 12)
	if err := (printer{out: &out}).route(route); err != nil {
		t.Fatal(err)
	}
	if err := (printer{out: &out}).list([]routeStatus{route}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"shop.example", "10.20.30.40:8443 ", "12.5 %", "10 %", "12 fell back", "12 requests took the short way, 12 went through reverse_proxy"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("%q is missing in\n%s", text, &out)
		}
	}
}

func TestJSONIsWhatTheAdminAPIAnswers(t *testing.T) {
	var out bytes.Buffer
	want := exampleRoute("app", "app:3000", 3)
	if err := (printer{out: &out, json: true}).route(want); err != nil {
		t.Fatal(err)
	}
	var got routeStatus
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("printed is %s, %v", &out, err)
	}
}

func exampleRoute(name, address string, count uint64) routeStatus {
	verify := false
	upstream := upstreamStatus{Address: address, Dial: address, Scheme: "https", TLSVerify: &verify, Weight: 1000,
		Health: "down", InFlight: int(count), Requests: count, Errors: count}
	groups := make([]groupStatus, 2)
	for i, group := range []string{production, staging} {
		groups[i] = groupStatus{Name: group, Requests: count, Errors: count, InFlight: int64(count), Upstreams: []upstreamStatus{upstream, upstream}}
	}
	set := &setSplit{TrafficSplit: 12.5, Against: 10, SetAt: time.Now(), SetBy: "ops@host"}
	set.SetAt = time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
	return routeStatus{Name: name, TrafficSplit: 12.5, ConfiguredSplit: 10, Fallbacks: count, Ways: waysStatus{Short: count, ReverseProxy: count}, Groups: groups, Override: set}
}

func TestWhatIsUnclearIsShownWithTheWayOut(t *testing.T) {
	route := exampleRoute("app", "a:1", 1)
	until := time.Date(2024, 5, 1, 11, 0, 0, 0, time.UTC)
	route.Override.UnclearUntil = &until
	for name, print := range map[string]func(printer) error{
		"show": func(p printer) error { return p.route(route) },
		"list": func(p printer) error { return p.list([]routeStatus{route}) },
	} {
		var out strings.Builder
		if err := print(printer{out: &out}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "is not clear") || !strings.Contains(out.String(), "to end it now: caddy proxyos reset app\n") {
			t.Errorf("%s prints\n%s", name, &out)
		}
		for line := range strings.Lines(out.String()) {
			if len([]rune(line)) > lineWidth+1 {
				t.Errorf("%s prints a long line: %s", name, line)
			}
		}
	}
}

func TestAGroupIsAsUpAsItIs(t *testing.T) {
	for _, test := range []struct {
		health  string // of its upstreams
		dynamic bool
		failing uint64
		want    string
	}{
		{"up up", false, 0, "2 of 2"},
		{"up full", false, 0, "2 of 2"},
		{"up down", false, 0, "1 of 2"},
		{"up,on trial", false, 0, "1 of 2"},
		{"on trial", false, 0, "0 of 1, on trial"},
		{"down", false, 0, "0 of 1"},
		{"up", false, 12, "1 of 1, failing"},
		{"up", true, 0, "1 of 1 +dyn"},
		{"", true, 0, "dynamic"},
		{"", true, 5, "dynamic, failing"},
	} {
		g := groupStatus{Name: production, Dynamic: test.dynamic, Requests: 100, Failing: test.failing}
		split := strings.Fields
		if strings.Contains(test.health, "trial") {
			split = func(s string) []string { return strings.Split(s, ",") }
		}
		for _, health := range split(test.health) {
			g.Upstreams = append(g.Upstreams, upstreamStatus{Dial: "a:1", Health: health})
		}
		var out strings.Builder
		if err := (printer{out: &out}).list([]routeStatus{{Name: "app", Groups: []groupStatus{g}}}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), " "+test.want+"  ") {
			t.Errorf("%+v is listed as\n%s", test, &out)
		}
		if note := "app: production 1 of 1, failing: 12 of the last 12\n"; test.failing == 12 && !strings.Contains(out.String(), note) {
			t.Errorf("%q is missing in\n%s", note, &out)
		}
	}
}

func TestFailuresCountSinceTheLatestAnswerThatWasNone(t *testing.T) {
	var g groupState
	for _, step := range []struct {
		status int
		want   uint64
	}{{502, 1}, {503, 2}, {statusClientGone, 2}, {500, 3}, {404, 0}, {500, 1}, {200, 0}, {200, 0}} {
		g.served(step.status, 0)
		if got := g.failing.Load(); got != step.want {
			t.Errorf("after %d: %d, want %d", step.status, got, step.want)
		}
	}
}

// Color changes no column, and is only where something is wrong.
func TestColorIsOnlyWhereSomethingIsWrong(t *testing.T) {
	routes := []routeStatus{exampleRoute("down", "a:1", 3), {Name: "fine", Groups: []groupStatus{{Name: production, Upstreams: []upstreamStatus{{Health: "up"}}}}}}
	show := func(colors bool) string {
		var out strings.Builder
		p := printer{out: &out, colors: colors}
		if err := p.list(routes); err != nil {
			t.Fatal(err)
		}
		if err := p.route(routes[0]); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	plain, colored := show(false), show(true)
	if strings.Contains(plain, "\x1b") || !strings.Contains(colored, "\x1b[31mdown\x1b[0m") || !strings.Contains(colored, "\x1b[31m0 of 2\x1b[0m") {
		t.Errorf("without color:\n%s\nwith color:\n%s", plain, colored)
	}
	if bare := strings.NewReplacer("\x1b[31m", "", "\x1b[35m", "", "\x1b[0m", "").Replace(colored); bare != plain {
		t.Errorf("color changes more than colors:\n%s\n%s", bare, plain)
	}
	for line := range strings.Lines(colored) {
		if strings.HasPrefix(line, "fine") && strings.Contains(line, "\x1b") {
			t.Errorf("what is fine is colored: %q", line)
		}
	}
}
