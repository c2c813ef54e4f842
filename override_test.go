package proxyos

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDocumentsThatAreDamaged(t *testing.T) {
	for _, text := range []string{
		"", " ", "null", "{}", "[]", "7", `{"version":`, `{"version":1,"routes":{}}x`, `{"version":1}{"version":2}`,
		`{"version":0,"routes":{}}`, `{"version":-1}`, `{"version":"1"}`, `{"format":0}`, `{"format":"1"}`,
		`{"version":1,"routes":[]}`, `{"version":1,"routes":{"app":7}}`,
		`{"version":1,"routes":{"app":{"traffic_split":"5"}}}`, `{"version":1,"routes":{"app":{"traffic_split":101}}}`,
		`{"version":1,"routes":{"app":{"traffic_split":5,"against":-1}}}`,
		`{"version":1,"routes":{"app":{"traffic_split":5,"set_at":"yesterday"}}}`,
		`{"format":1,"routes":{"app":{"configured":{"one":101}}}}`, `{"format":1,"routes":{"app":{"rolled":{"one":{"configured":-1}}}}}`,
	} {
		if doc, err := parseDocument([]byte(text)); err == nil {
			t.Errorf("%q is read as %+v", text, doc)
		}
	}
	doc, err := parseDocument([]byte(`{"version":3,"routes":{"app":{"traffic_split":5,"against":1,"set_at":"2024-05-01T10:00:00Z"}}}` + "\n"))
	if err != nil || doc.Version != 3 || doc.Routes["app"].TrafficSplit != 5 {
		t.Errorf("a valid document is read as %+v, %v", doc, err)
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, text := range []string{
		`{"version":3,"routes":{"app":{"traffic_split":5,"against":1,"set_at":"2024-05-01T10:00:00Z","set_by":"ops"}}}`,
		`{"format":1,"id":"x","routes":{"app":{"traffic_split":5,"more":[1,{"a":"<"}],"configured":{"one":5},"rolled":{"two":{"at":"2024-05-01T10:00:00Z","configured":7}}}},"steps":{}}`,
		`{"version":1}`, `{"version":1,"routes":null}`, `{"version":1,"routes":{}}`, `{"version":9007199254740992}`, `{"version":1e3}`,
		`{"version":1,"routes":{"":{},"b":{"traffic_split":-0}}}`, `{"version":1,"routes":{"app":{"traffic_split":1e-320,"against":100}}}`,
		`{"version":1,"routes":{"app":{"set_at":"2024-02-29T23:59:59.999999999+23:59"}}}`, `{"version":1,"routes":{"app":{"set_at":null}}}`,
		`{"version":1,"version":2}`, `{"VERSION":1}`, `{"version":1,"":{"":{"":1e700}}}`, `{"version":1}x`, `null`, ``, "{\"version\":1,\"routes\":{\"\xff\":{},\"\\ud800\":{}}}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := parseDocument(raw)
		if err != nil {
			return
		}
		for name, o := range doc.Routes {
			if o.check() != nil {
				t.Errorf("route %q: %+v is accepted", name, o)
			}
		}
		encoded, _, err := doc.encoded() // as it is stored
		if err != nil {
			t.Fatalf("%q is read, but cannot be stored: %v", raw, err)
		}
		back, err := parseDocument(encoded)
		if err != nil {
			t.Fatalf("%q is read, but not once it is stored as\n%s\n%v", raw, encoded, err)
		}
		same := maps.EqualFunc(back.Routes, doc.Routes, func(a, b *override) bool {
			return a.TrafficSplit == b.TrafficSplit && a.Against == b.Against && a.SetAt.Equal(b.SetAt) && a.SetBy == b.SetBy &&
				maps.Equal(a.Configured, b.Configured) && sameFields(a.extra, b.extra) &&
				maps.EqualFunc(a.Rolled, b.Rolled, func(a, b rolled) bool { return a.At.Equal(b.At) && a.Configured == b.Configured })
		})
		if !same || back.Version > maxVersion || !sameFields(doc.extra, back.extra) {
			t.Errorf("%q is read as %+v, and once it is stored as %+v", raw, doc, back)
		}
	})
}

// sameFields tells whether two objects have the same fields, whatever their spaces. Numbers are compared
// as written, since they may be larger than any float64.
func sameFields(a, b fields) bool {
	decode := func(raw json.RawMessage) (value any, err error) {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		err = decoder.Decode(&value)
		return value, err
	}
	return maps.EqualFunc(a, b, func(a, b json.RawMessage) bool {
		decodedA, errA := decode(a)
		decodedB, errB := decode(b)
		return errA == nil && errB == nil && reflect.DeepEqual(decodedA, decodedB)
	})
}

func TestWhatIsNotKnownIsHandedOn(t *testing.T) {
	doc, err := parseDocument([]byte(`{"format":1,"routes":{"app":{"traffic_split":5,"step":{"at":7}},"rolled":{"traffic_split":5,"rolled":{"x":{"at":"2024-05-01T10:00:00Z","configured":1,"by":"y"}}},"other":{"traffic_split":1,"note":"x"}},"releases":{"app":{"plan":{"steps":[5]},"phase":"done","mood":"good"}},"later":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	doc.Routes["app"] = doc.Routes["app"].replacedBy(6, 0, "one", "ops", nil).withRolled("two", 7, time.Now()).withInstance("three", 8)
	raw, _, err := doc.encoded()
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{`"step":{"at":7}`, `"by":"y"`, `"note":"x"`, `"mood":"good"`, `"later":[1]`} {
		if !strings.Contains(strings.Join(strings.Fields(string(raw)), ""), field) {
			t.Errorf("%s is lost in\n%s", field, raw)
		}
	}
}

// The rule of docs/clusters.md, row by row.
func TestForWhomAnOverrideHolds(t *testing.T) {
	now := time.Date(2024, 5, 2, 14, 0, 0, 0, time.UTC)
	base := override{TrafficSplit: 100, Against: 0, Configured: map[string]float64{"a": 0, "b": 5}}
	rolledOut := func(ago time.Duration) override {
		o := base
		o.Rolled = map[string]rolled{"c": {At: now.Add(-ago), Configured: 100}}
		return o
	}
	all := rolledOut(time.Minute)
	all.Rolled["a"], all.Rolled["b"] = all.Rolled["c"], all.Rolled["c"]
	for name, test := range map[string]struct {
		o          override
		instance   string
		configured float64
		want       verdict
	}{
		"known, and not edited":                            {base, "a", 0, verdict{holds: true}},
		"known, not edited, and another is rolled out":     {rolledOut(5 * time.Hour), "b", 5, verdict{holds: true}},
		"known, and edited":                                {base, "a", 100, verdict{edited: true}},
		"known, and edited to what another has":            {base, "a", 5, verdict{edited: true}},
		"rolled out":                                       {rolledOut(time.Minute), "c", 100, verdict{}},
		"rolled out, and edited back":                      {rolledOut(time.Minute), "c", 0, verdict{edited: true}},
		"unknown, with the old split":                      {base, "x", 0, verdict{holds: true, joins: true}},
		"unknown, with the old split of another":           {base, "x", 5, verdict{holds: true, joins: true}},
		"unknown, with a new split":                        {base, "x", 100, verdict{edited: true}},
		"unknown, and another was rolled out just now":     {rolledOut(59 * time.Minute), "x", 0, verdict{holds: true, unclear: true}},
		"unknown, and another was rolled out an hour ago":  {rolledOut(time.Hour), "x", 0, verdict{}},
		"unknown, with a new split, in the middle of that": {rolledOut(time.Minute), "x", 100, verdict{edited: true}},
		"unknown, and all that had it are rolled out":      {all, "x", 0, verdict{}},
		"of an older program, not edited":                  {override{Against: 10}, "x", 10, verdict{holds: true, joins: true}},
		"of an older program, edited":                      {override{Against: 10}, "x", 11, verdict{edited: true}},
	} {
		if got := test.o.judge(test.instance, test.configured, now); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestAChangeInTheMiddleOfARolloutHoldsForAll(t *testing.T) {
	now := time.Now()
	o := newOverride(100, 0, "").withInstance("a", 0).withInstance("b", 0).withInstance("c", 0).withRolled("a", 100, now)
	next := o.replacedBy(30, 0, "b", "ops", nil)
	for instance, configured := range map[string]float64{"a": 100, "b": 0, "c": 0} {
		if got := next.judge(instance, configured, now); got != (verdict{holds: true}) {
			t.Errorf("%s: %+v", instance, got)
		}
	}
	heard := []configuredSplit{{"d", 50, now.Add(time.Minute)}, {"a", 60, now.Add(-time.Minute)}, {"c", 0, now}}
	next = o.replacedBy(30, 0, "b", "ops", heard)
	for instance, configured := range map[string]float64{"a": 100, "b": 0, "c": 0, "d": 50} {
		if got := next.judge(instance, configured, now); got != (verdict{holds: true}) {
			t.Errorf("%s, with what the others said: %+v", instance, got)
		}
	}
	if next.key() == o.key() || next.replacedBy(30, 0, "b", "ops", nil).key() == next.key() {
		t.Error("two changes cannot be told apart")
	}
}
