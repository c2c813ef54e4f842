package same

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// The harness is worth nothing if it finds no difference where there is one.
func TestTheHarnessFindsWhatDiffers(t *testing.T) {
	tests := map[string]struct {
		stock, slow, fast []string // lines that only one of them has
		reported          string
		clean             bool
	}{
		"nothing differs":                       {clean: true},
		"the upstream gets another field":       {fast: []string{"header_up X-Added 1"}, reported: "X-Added: 1"},
		"reverse_proxy's upstream does":         {stock: []string{"header_up X-Added 1"}, reported: "X-Added: 1"},
		"the slow way's does":                   {slow: []string{"header_up -Via"}, reported: "Via: "},
		"the client gets another field":         {fast: []string{"header_down X-Added 1"}, reported: "X-Added: 1"},
		"the values of a field are in disorder": {fast: []string{"header_down Set-Cookie a b"}, reported: "Set-Cookie"},
		"the client gets another status":        {fast: []string{"@ok status 200\nreplace_status @ok 201"}, reported: "201"},
		"a request is sent twice":               {fast: []string{"unhealthy_status 200\nlb_retries 1\nlb_retry_match expression `{rp.status_code} == 200`"}, reported: "status"},
	}
	names := slices.Sorted(maps.Keys(tests))
	var configs []*sameConfig
	for _, name := range names {
		test := tests[name]
		configs = append(configs, &sameConfig{upstreams: []string{"plain"}, extra: map[string][]string{"stock": test.stock, "slow": test.slow, "fast": test.fast}})
	}
	s, runs := newSameRuns(t, configs...)
	together := make(map[string]func(*testing.T))
	for i, name := range names {
		test := tests[name]
		runs[i].judgedAfter = judgedAfter[:1] // what always differs differs often enough
		together[name] = func(t *testing.T) {
			answer := ok()
			answer.fields = append(answer.fields, "Set-Cookie: a=1", "Set-Cookie: b=2")
			p := &samePair{get("1.1"), answer}
			text, _ := p.differences(t, s, runs[i])
			if test.clean && text != "" {
				t.Errorf("it reports %s", text)
			}
			if !test.clean && (!strings.Contains(text, test.reported) || !strings.Contains(text, "slow")) {
				t.Errorf("it reports %q, which does not say %s", text, test.reported)
			}
		}
	}
	proxytest.Together(t, together)
}

func TestTheHarnessFindsMetricsThatDiffer(t *testing.T) {
	if text := metricDifference("slow", []string{"a 1", "b 2"}, "fast", []string{"a 1", "b 3"}); !strings.Contains(text, "only slow: b 2") || !strings.Contains(text, "only fast: b 3") {
		t.Errorf("it reports %q", text)
	}
}

func TestAnotherEndOfTheConnectionIsADifference(t *testing.T) {
	way := &sameWay{kind: "slow", names: strings.NewReplacer()}
	one, other := newSameSeen(way), newSameSeen(way)
	one.add("client", "HTTP/1.1 200 OK", "ended cleanly")
	other.add("client", "HTTP/1.1 200 OK", "reset")
	var a, b outcomes
	a.note(one)
	b.note(other)
	if text := a.difference(&b); !strings.Contains(text, "reset") {
		t.Errorf("it reports %q", text)
	}
}

// notes returns the outcomes of so many tries, of which some have a line in a section.
func notes(way *sameWay, section string, times, tries int) outcomes {
	var o outcomes
	for i := range tries {
		seen := newSameSeen(way)
		if i < times {
			seen.add(section, "the line")
			if section == rareSection {
				way.rare = append(way.rare, "the line")
			}
		}
		o.note(seen)
	}
	return o
}

// What is logged once a minute was logged in the first look, or for another pair, perhaps.
func TestAHintIsADifferenceUnlessItWasLoggedBefore(t *testing.T) {
	for _, test := range []struct {
		rare                []string
		first, second, both bool // in which look the fast way logs it, and whether the slow way does in the second, too
		inFirst, inSecond   bool // whether there is a difference
	}{
		{first: true, inFirst: true, inSecond: true},
		{second: true, inSecond: true},
		{second: true, both: true},
		{first: true, both: true, inFirst: true},
		{first: true, rare: []string{"another"}, inFirst: true, inSecond: true},
		{first: true, rare: []string{"the line"}, inFirst: true},
		{second: true, rare: []string{"the line"}},
	} {
		fast, slow := &sameWay{kind: "fast", names: strings.NewReplacer()}, &sameWay{kind: "slow", names: strings.NewReplacer(), rare: test.rare}
		look := func(of *sameWay, has bool) outcomes { return notes(of, rareSection, map[bool]int{true: 1}[has], 1) }
		a, b := look(fast, test.first), look(slow, false)
		if got := a.difference(&b) != ""; got != test.inFirst {
			t.Errorf("%+v: the first look differs: %v", test, got)
		}
		a, b = a.again(), b.again()
		for _, logged := range look(fast, test.second).seen[rareSection] {
			a.add(rareSection, logged)
		}
		for _, logged := range look(slow, test.both).seen[rareSection] {
			b.add(rareSection, logged)
		}
		if got := a.difference(&b) != ""; got != test.inSecond {
			t.Errorf("%+v: the second look differs: %v", test, got)
		}
	}
}

func TestWhatIsOftenInOneWayAndRareInAnotherIsADifference(t *testing.T) {
	for _, test := range []struct {
		one, other, tries int
		differ            bool
	}{
		{1, 1, 1, false}, {20, 1, 20, true}, {1, 0, 20, true}, {20, 19, 20, true}, {19, 18, 20, false},
		{100, 0, 100, true}, {90, 1, 100, true}, {90, 2, 100, false}, {9, 1, 100, false}, {10, 1, 100, true},
		{500, 10, 1000, true}, {500, 11, 1000, false}, {99, 1, 1000, false}, {1, 0, 1000, true},
	} {
		way := &sameWay{kind: "some", names: strings.NewReplacer()}
		a, b := notes(way, "client", test.one, test.tries), notes(way, "client", test.other, test.tries)
		if text := a.difference(&b); (text != "") != test.differ || text != "" && b.difference(&a) == "" {
			t.Errorf("%+v: it reports %q", test, text)
		}
	}
}

func TestALookEnds(t *testing.T) {
	way := &sameWay{kind: "slow", names: strings.NewReplacer()}
	try := func(l *looks, lines ...string) func() {
		return func() {
			l.tries++
			seen := newSameSeen(way)
			seen.add("client", lines...)
			l.slow.note(seen)
			l.fast.note(newSameSeen(way))
		}
	}
	for _, test := range []struct {
		tries   int
		judged  []int
		longest time.Duration
		lines   []string
		want    int
	}{
		{0, []int{5, 30}, time.Hour, []string{"a"}, 30},
		{0, []int{5, 30}, 0, []string{"a"}, 1},
		{29, []int{5, 30}, time.Hour, []string{"a"}, 30},
		{40, []int{5, 30}, time.Hour, []string{"a"}, 41},
		{0, []int{5, 30}, time.Hour, nil, 5},
	} {
		l := looks{tries: test.tries}
		if text := l.until(test.judged, test.longest, try(&l, test.lines...)); l.tries != test.want || (text != "") != (test.lines != nil) {
			t.Errorf("%+v: after %d tries it reports %q", test, l.tries, text)
		}
	}
}

func TestWhatIsMissingIsADifference(t *testing.T) {
	way := &sameWay{kind: "some", names: strings.NewReplacer()}
	all, some, none := notes(way, "error log", 20, 20), notes(way, "error log", 10, 20), notes(way, "error log", 0, 20)
	for i, differ := range []bool{all.difference(&some) != "", all.difference(&none) != "", some.difference(&none) != ""} {
		if !differ {
			t.Errorf("case %d is no difference", i)
		}
	}
	if text := some.difference(&some); text != "" {
		t.Errorf("it reports %q", text)
	}
}
