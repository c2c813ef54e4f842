package release

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAPlanIsCheckedAndSaysWhatToWrite(t *testing.T) {
	const quoted = "write rising percentages"
	for _, c := range []struct {
		name   string
		change func(p *Plan)
		want   []string // in the error; none: the plan is valid
	}{
		{"the default", func(*Plan) {}, nil},
		{"one step", func(p *Plan) { p.Steps = []float64{100} }, nil},
		{"fractions of a percent", func(p *Plan) { p.Steps = []float64{0.1, 0.5} }, nil},
		{"no hold", func(p *Plan) { p.Hold = 0 }, nil},
		{"two tests off", func(p *Plan) { p.Errors, p.Slower = 0, 0 }, nil},
		{"approvals", func(p *Plan) { p.Approve = []float64{100, 5} }, nil},
		{"no steps", func(p *Plan) { p.Steps = nil }, []string{"steps: there are none", quoted}},
		{"a step of 0", func(p *Plan) { p.Steps = []float64{0, 5} }, []string{`steps: "0" is not above 0`}},
		{"a step above 100", func(p *Plan) { p.Steps = []float64{5, 101} }, []string{`steps: "101" is not above 0 and at most 100`}},
		{"a step that is no number", func(p *Plan) { p.Steps = []float64{math.NaN()} }, []string{`steps: "NaN"`}},
		{"steps that fall", func(p *Plan) { p.Steps = []float64{5, 25, 10} }, []string{`steps: "10" comes after 25`, quoted}},
		{"steps that stay", func(p *Plan) { p.Steps = []float64{5, 5} }, []string{`steps: "5" comes after 5`}},
		{"an approval of what is no step", func(p *Plan) { p.Approve = []float64{40} }, []string{`approve: "40" is not one of the steps [1 5 25 50 100]`}},
		{"an approval of the first step", func(p *Plan) { p.Approve = []float64{1} }, []string{`approve: "1" is the first step`}},
		{"an approval twice", func(p *Plan) { p.Approve = []float64{50, 50} }, []string{`approve: "50" is there twice`}},
		{"a hold below 0", func(p *Plan) { p.Hold = -time.Second }, []string{`hold: "-1s" is below 0`}},
		{"a hold longer than the deadline", func(p *Plan) { p.Hold = 25 * time.Hour }, []string{`hold: "25h0m0s" is not below the deadline of 24h0m0s`}},
		{"holds that take longer than the deadline", func(p *Plan) { p.Hold = 5 * time.Hour }, []string{`hold: "5h0m0s" on each of 5 steps`}},
		{"holds that take just as long", func(p *Plan) { p.Hold, p.Deadline = 2*time.Hour, 10*time.Hour }, []string{`hold: "2h0m0s" on each of 5 steps`}},
		{"holds that are longer than time", func(p *Plan) { p.Deadline, p.Hold = math.MaxInt64, math.MaxInt64/2 }, []string{`on each of 5 steps`}},
		{"no deadline", func(p *Plan) { p.Deadline = 0 }, []string{`deadline: "0s" is not above 0`}},
		{"no requests", func(p *Plan) { p.MinRequests = 0 }, []string{`min_requests: "0" is not from 1`}},
		{"a tolerance below 1", func(p *Plan) { p.Errors = 0.5 }, []string{`errors: "0.5" is not from 1 to 100`, "0 to switch the test off"}},
		{"a tolerance that is no number", func(p *Plan) { p.Slower = math.NaN() }, []string{`slower: "NaN" is not from 1 to 100`}},
		{"percent where a fraction is meant", func(p *Plan) { p.MaxErrors = 5 }, []string{`max_errors: "5" is not above 0 and below 1`, "0.05 for 5 %"}},
		{"all tests off", func(p *Plan) { p.Errors, p.Slower, p.MaxErrors = 0, 0, 0 }, []string{"are all off"}},
		{"certainty", func(p *Plan) { p.Confidence = 1 }, []string{`confidence: "1" is not from 0.5 to 0.99999`}},
		{"a guess", func(p *Plan) { p.Confidence = 0.49 }, []string{`confidence: "0.49"`}},
		{"an unknown on_fail", func(p *Plan) { p.OnFail = "abort" }, []string{`on_fail: "abort" is not known; write "rollback" or "pause"`}},
		{"several at once", func(p *Plan) { p.MinRequests, p.Confidence = -1, 2 }, []string{`min_requests: "-1"`, `confidence: "2"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := DefaultPlan()
			c.change(&p)
			err := p.Validate()
			if (err == nil) != (c.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
			}
		})
	}
}

func TestWhatIsNotSetHasItsDefaultAndZeroIsOff(t *testing.T) {
	want := DefaultPlan()
	want.Slower, want.MinRequests, want.Steps = 0, 7, []float64{10, 20}
	got := DefaultPlan()
	if err := json.Unmarshal([]byte(`{"slower": 0, "min_requests": 7, "steps": [10, 20]}`), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if p := DefaultPlan(); p.Steps[0] != 1 {
		t.Errorf("the default has changed to %v", p.Steps)
	}
	text, _ := json.Marshal(want)
	var again Plan
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%s became %+v, %v", text, again, err)
	}
}

func TestCountsAddUp(t *testing.T) {
	a := Groups{Counts{1, 2, 3, 4, 5, 6}, Counts{7, 8, 9, 10, 11, 12}, 0.5, 0.25}
	b := Groups{Counts{10, 20, 30, 40, 50, 60}, Counts{70, 80, 90, 100, 110, 120}, 1, 2}
	want := Groups{Counts{11, 22, 33, 44, 55, 66}, Counts{77, 88, 99, 110, 121, 132}, 1.5, 2.25}
	if got := a.Add(b); got != want {
		t.Errorf("got %+v", got)
	}
	if got := want.Staging.Sub(b.Staging); got != a.Staging {
		t.Errorf("got %+v", got)
	}
	if text, err := json.Marshal(Groups{Staging: Counts{Requests: 3}}); err != nil || string(text) != `{"staging":{"requests":3}}` {
		t.Errorf("%s, %v", text, err)
	}
}
