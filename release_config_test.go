package proxyos

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

func TestWrongReleasesInJSONAreRejected(t *testing.T) {
	const provision = "provision http.handlers.proxyos: route x: release: "
	for _, c := range []struct{ name, release, want string }{
		{"no object", `"on"`, `"on" is not an object; write {…}`},
		{"true", `true`, `true is not an object; write {…}`},
		{"an unknown field", `{"weight": 1}`, `unknown field "weight"; it takes steps, hold, min_requests, errors, slower, max_errors, confidence, approve, deadline, on_fail, notify, dry_run`},
		{"a mistyped field", `{"min_request": 1}`, `unknown field "min_request"; did you mean min_requests?`},
		{"no steps", `{"steps": []}`, `steps: there are none; write rising percentages, such as 1 5 25 50 100`},
		{"steps that are no list", `{"steps": 5}`, `steps: a number is not valid here; write a list`},
		{"a step that is a string", `{"steps": ["5%"]}`, `steps: a string is not valid here; write a number`},
		{"a step of null", `{"steps": [null]}`, `steps: "0" is not above 0 and at most 100; write the percentage of requests for staging`},
		{"steps that fall", `{"steps": [5, 1]}`, `steps: "1" comes after 5; write rising percentages, such as 1 5 25 50 100`},
		{"a step above 100", `{"steps": [101]}`, `steps: "101" is not above 0 and at most 100; write the percentage of requests for staging`},
		{"a hold in words", `{"hold": "soon"}`, `hold: "soon" is not a duration; write one such as "10m"`},
		{"a hold that is true", `{"hold": true}`, `hold: true is not a duration; write one such as "10m"`},
		{"a hold in seconds without a unit", `{"hold": 600}`, `hold: "600ns" is below 1ms; write how long each step lasts at least, with its unit, such as 10m`},
		{"a deadline in hours without a unit", `{"deadline": 24}`, `hold: "10m0s" is not below the deadline of 24ns; write a shorter hold or a longer deadline`},
		{"no deadline", `{"deadline": 0}`, `deadline: "0s" is not above 0; write how long the release may take, such as 24h`},
		{"min_requests 0", `{"min_requests": 0}`, `min_requests: "0" is not from 1 to 1000000000000; write how many requests staging must answer on each step, such as 300`},
		{"half a request", `{"min_requests": 1.5}`, `min_requests: a number 1.5 is not valid here; write a whole number`},
		{"errors that are a string", `{"errors": "1.5x"}`, `errors: a string is not valid here; write a number`},
		{"errors below 1", `{"errors": 0.5}`, `errors: "0.5" is outside 1 to 100; write how many times as often as production is tolerated, such as 1.5, or off (0 in JSON)`},
		{"slower above 100", `{"slower": 101}`, `slower: "101" is outside 1 to 100; write how many times as often as production is tolerated, such as 1.5, or off (0 in JSON)`},
		{"max_errors below 0", `{"max_errors": -1}`, `max_errors: "-1" is not above 0 and below 100; write a percentage of the requests, such as 5, or off (0 in JSON)`},
		{"confidence 0", `{"confidence": 0}`, `confidence: "0" is outside 50 to 99.999; write how sure to be as a percentage, such as 99`},
		{"confidence as a fraction", `{"confidence": 0.99}`, `confidence: "0.99" is outside 50 to 99.999; write how sure to be as a percentage, such as 99`},
		{"all tests off", `{"errors": 0, "slower": 0, "max_errors": 0}`, `errors, slower and max_errors are all off, so nothing would ever stop the release; switch one of them on, such as errors 1.5`},
		{"approval of what is no step", `{"approve": [10]}`, `approve: "10" is not one of the steps [1 5 25 50 100]; write one of them`},
		{"on_fail that is not known", `{"on_fail": "stop"}`, `on_fail: "stop" is not known; write "rollback" or "pause"`},
		{"notify without a scheme", `{"notify": "a"}`, `notify: "a" is not the URL of an HTTP server; write one such as https://hooks.example.com/releases`},
		{"dry_run that is a string", `{"dry_run": "yes"}`, `dry_run: a string is not valid here; write true or false`},
	} {
		t.Run(c.name, func(t *testing.T) {
			handler := named(`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": ` + c.release + `}`)
			err := validate(t, "{}", handler)
			if err == nil || !strings.HasSuffix(err.Error(), provision+c.want) {
				t.Errorf("\ngot  %v\nwant %s", err, c.want)
			}
			checkExplained(t, "release: "+c.want, handler)
		})
	}
	for handler, want := range map[string]string{
		`{"upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": {}}`: "release: the route has no name to start it by; add `name <name>`, or remove release",
		`{"upstreams": ["a:1"], "name": "x", "release": {}}`:                       "release: there is no staging group; add `staging <addresses...>`, or remove release",
	} {
		if err := validate(t, "{}", named(handler)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("\ngot  %v\nwant %s", err, want)
		}
		checkExplained(t, want, named(handler))
	}
}

func TestWhatIsNotWrittenOfAReleaseIsTheDefaultPlan(t *testing.T) {
	if got := new(Release).plan(); !reflect.DeepEqual(got, release.DefaultPlan()) {
		t.Errorf("got %+v", got)
	}
	var r Release
	const everything = `{"STEPS": [10, 20], "hold": "1m", "min_requests": 7, "errors": 0, "slower": 2, "max_errors": 7, "confidence": 99.999,
		"approve": [20], "deadline": "1h", "on_fail": "pause", "notify": "http://a", "dry_run": true, "Deadline": null}`
	if err := json.Unmarshal([]byte(everything), &r); err != nil {
		t.Fatal(err)
	}
	want := release.Plan{Steps: []float64{10, 20}, Hold: time.Minute, MinRequests: 7, Slower: 2, MaxErrors: 0.07, Confidence: 0.99999,
		Approve: []float64{20}, Deadline: time.Hour, OnFail: release.FailPause, DryRun: true}
	if got := r.plan(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := r.check(); err != nil {
		t.Error(err)
	}
	r.plan().Steps[0] = 1
	if r.Steps[0] != 10 {
		t.Error("a plan shares its steps with what is configured")
	}
}

// A percentage that divided by 100 is not the fraction that everybody would write.
func TestPercentagesAreExactFractions(t *testing.T) {
	for percent, want := range map[float64]float64{99: 0.99, 99.9: 0.999, 99.999: 0.99999, 50: 0.5, 7: 0.07, 0.07: 0.0007, 5: 0.05, 1e-9: 1e-11} {
		if got := fraction(percent); got != want {
			t.Errorf("%v %% is %v, want %v", percent, got, want)
		}
	}
}

// Whatever is rejected here is rejected by the plan, and nothing else is.
func TestACheckedReleaseHasAValidPlan(t *testing.T) {
	one := func(value float64) *float64 { return &value }
	for _, value := range []float64{-1, 0, 0.01, 0.5, 0.99, 1, 1.5, 49.9, 50, 99, 99.999, 99.9995, 100, 101, 1000} {
		for name, r := range map[string]Release{"errors": {Errors: one(value)}, "slower": {Slower: one(value)}, "max_errors": {MaxErrors: one(value)}, "confidence": {Confidence: one(value)}} {
			if got, want := r.check() == nil, r.plan().Validate() == nil; got != want {
				t.Errorf("%s %v is accepted: %v, and its plan is valid: %v", name, value, got, want)
			}
		}
	}
}

func TestARouteHasItsRelease(t *testing.T) {
	h := new(Handler)
	if err := json.Unmarshal([]byte(`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": {"steps": [7]}}`), h); err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(h, routeDefaults{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRoute(p, nil, zap.NewNop())
	defer r.close()
	if r.release != h.Release || r.release.Steps[0] != 7 {
		t.Errorf("the route has %+v", r.release)
	}
}

// A site with two listeners is loaded for each of them; its route has one release.
func TestTwinsHaveTheSameRelease(t *testing.T) {
	handler := func(release string) string {
		return named(`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": ` + release + `}`)
	}
	if err := validate(t, "{}", handler(`{"steps": [5], "hold": "1m"}`), handler(`{"hold": "60s", "steps": [5]}`)); err != nil {
		t.Error(err)
	}
	if err := validate(t, "{}", handler(`{"steps": [5]}`), handler(`{}`)); err == nil || !strings.Contains(err.Error(), `name "x": another proxyos route already has it`) {
		t.Errorf("got %v", err)
	}
}
