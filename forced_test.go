package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestProductionWhenGoesBeforeStagingWhen(t *testing.T) {
	f := forced{
		staging:    caddyhttp.MatcherSets{{caddyhttp.MatchHeader{"X-Tester": {"1"}}}, {caddyhttp.MatchHeader{"X-Crew": {"1"}}}},
		production: caddyhttp.MatcherSets{{caddyhttp.MatchHeader{"X-Stable": {"1"}}}},
	}
	for _, test := range []struct {
		headers           []string
		forced, toStaging bool
	}{
		{nil, false, false},
		{[]string{"X-Tester"}, true, true},
		{[]string{"X-Crew"}, true, true},
		{[]string{"X-Stable"}, true, false},
		{[]string{"X-Tester", "X-Stable"}, true, false},
	} {
		r := keyedRequest(t, "")
		for _, name := range test.headers {
			r.Header.Set(name, "1")
		}
		forced, toStaging, err := f.decide(r)
		if err != nil || forced != test.forced || toStaging != test.toStaging {
			t.Errorf("%v: forced %t, to staging %t, %v; want %t, %t", test.headers, forced, toStaging, err, test.forced, test.toStaging)
		}
	}
}

// failing is a matcher that fails on requests with a header.
type failing string

func (f failing) MatchWithError(r *http.Request) (bool, error) {
	if r.Header.Get(string(f)) != "" {
		return false, errors.New("on " + string(f))
	}
	return false, nil
}

// failingOldStyle is one that tells its error in a variable, as matchers did once.
type failingOldStyle string

func (f failingOldStyle) Match(r *http.Request) bool {
	if r.Header.Get(string(f)) != "" {
		//lint:ignore SA1019 there are matchers that still use it
		caddyhttp.SetVar(r.Context(), caddyhttp.MatcherErrorVarKey, errors.New("on "+string(f)))
	}
	return false
}

// failingInBothWays returns its error and leaves it in the variable.
type failingInBothWays string

func (f failingInBothWays) MatchWithError(r *http.Request) (bool, error) {
	failingOldStyle(f).Match(r)
	return failing(f).MatchWithError(r)
}

func TestMatchersThatFailDoNotMatch(t *testing.T) {
	f := forced{
		staging:    caddyhttp.MatcherSets{{failing("S1")}, {failingInBothWays("S2")}, {neverMatching{}}, {caddyhttp.MatchHeader{"X-Tester": {"1"}}}},
		production: caddyhttp.MatcherSets{{failing("P1")}, {failingOldStyle("P2")}, {caddyhttp.MatchHeader{"X-Stable": {"1"}}}},
	}
	for _, test := range []struct {
		headers           string
		forced, toStaging bool
		err               string
	}{
		{"S1", false, false, "staging_when: on S1"},
		{"S2", false, false, "staging_when: on S2"},
		{"P1", false, false, "production_when: on P1"},
		{"P2", false, false, "production_when: on P2"},
		{"S1 X-Tester", true, true, "staging_when: on S1"},
		{"S2 X-Tester", true, true, "staging_when: on S2"},
		{"P1 X-Stable", true, false, "production_when: on P1"},
		{"P2 X-Stable", true, false, "production_when: on P2"},
		{"P1 X-Tester", true, true, "production_when: on P1"},
		{"S1 X-Stable", true, false, ""},
		{"S2 P2", false, false, "production_when: on P2; staging_when: on S2"},
	} {
		r := keyedRequest(t, "")
		for _, name := range strings.Fields(test.headers) {
			r.Header.Set(name, "1")
		}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
		forced, toStaging, err := f.decide(r)
		if forced != test.forced || toStaging != test.toStaging {
			t.Errorf("%s: forced %t, to staging %t; want %t, %t", test.headers, forced, toStaging, test.forced, test.toStaging)
		}
		if (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: error %v, want %q", test.headers, err, test.err)
		}
	}
}

// neverMatching is a matcher of the old style without errors of its own.
type neverMatching struct{}

func (neverMatching) Match(*http.Request) bool { return false }

func TestFailingMatchersAreLoggedOnceAMinute(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	now := time.Now()
	m := newMatcherFailures("shop", zap.New(core))
	m.now = func() time.Time { return now }
	for range 100 {
		m.note(errors.New("staging_when: on S1"))
	}
	now = now.Add(matcherLogInterval - time.Millisecond)
	m.note(errors.New("staging_when: on S1"))
	if logs.Len() != 1 {
		t.Fatalf("%d lines within a minute", logs.Len())
	}
	now = now.Add(time.Millisecond)
	m.note(errors.New("production_when: on P1"))
	all := logs.TakeAll()
	if len(all) != 2 {
		t.Fatalf("%d lines after a minute", len(all))
	}
	first, second := all[0].ContextMap(), all[1].ContextMap()
	if first["route"] != "shop" || first["requests"] != int64(1) || first["error"] != "staging_when: on S1" {
		t.Errorf("at first: %v", first)
	}
	if second["requests"] != int64(101) || second["error"] != "production_when: on P1" {
		t.Errorf("after a minute: %v", second)
	}
}

func TestMatcherSetsAreOneOrAList(t *testing.T) {
	for _, text := range []string{
		`{"path":["/beta/*"]}`,
		`[{"path":["/beta/*"]},{"header":{"X-Tester":["1"]}}]`,
	} {
		var sets matcherSets
		if err := json.Unmarshal([]byte(text), &sets); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if back, err := json.Marshal(sets); err != nil || string(back) != text {
			t.Errorf("%s comes back as %s, %v", text, back, err)
		}
	}
	for _, text := range []string{`"x"`, `7`, `{"path"`, `[1]`} {
		if err := json.Unmarshal([]byte(text), new(matcherSets)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}
