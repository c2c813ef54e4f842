package proxyos

import (
	"encoding/json"
	"testing"

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
