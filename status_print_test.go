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
	for _, text := range []string{"shop.example", "10.20.30.40:8443 ", "12.5 %", "10 %", "12 fell back"} {
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
	return routeStatus{Name: name, TrafficSplit: 12.5, ConfiguredSplit: 10, Fallbacks: count, Groups: groups, Override: set}
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
