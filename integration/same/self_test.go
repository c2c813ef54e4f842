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
		runs[i].most = 3 * sameRepeats // what always differs differs often enough
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

// What is logged once a minute was logged in the first look, or for another pair, perhaps.
func TestAHintIsADifferenceUnlessItWasLoggedBefore(t *testing.T) {
	for _, test := range []struct {
		rare             []string
		isAfresh, differ bool
	}{
		{nil, false, true},
		{nil, true, true},
		{[]string{"another"}, true, true},
		{[]string{"the hint"}, false, true},
		{[]string{"the hint"}, true, false},
	} {
		fast, slow := &sameWay{kind: "fast", names: strings.NewReplacer()}, &sameWay{kind: "slow", names: strings.NewReplacer(), rare: test.rare}
		one, other := newSameSeen(fast), newSameSeen(slow)
		one.add(rareSection, "the hint")
		a, b := outcomes{isAfresh: test.isAfresh}, outcomes{isAfresh: test.isAfresh}
		a.note(one)
		b.note(other)
		if text := a.difference(&b); strings.Contains(text, "the hint") != test.differ {
			t.Errorf("%+v: it reports %q", test, text)
		}
	}
}

func TestALookEnds(t *testing.T) {
	way := &sameWay{kind: "slow", names: strings.NewReplacer()}
	differs := func(l *looks) func() {
		return func() {
			seen := newSameSeen(way)
			seen.add("client", "HTTP/1.1 200 OK")
			l.tries++
			l.slow.note(seen)
			l.fast.note(newSameSeen(way))
		}
	}
	var many, long looks
	if text := many.until(30, time.Hour, differs(&many)); many.tries != 30 || text == "" {
		t.Errorf("after %d tries it reports %q", many.tries, text)
	}
	if text := long.until(1_000_000_000, 10*time.Millisecond, differs(&long)); text == "" {
		t.Error("after the time it reports nothing")
	}
}
