package proxyos

import (
	"strings"
	"testing"
)

func TestBodiesOfChangesAreReadStrictly(t *testing.T) {
	for _, body := range []string{
		"", "null", "{}", "[]", "25", `"25"`, `{"traffic_split":`, `{"traffic_split":null}`, `{"traffic_split":"25"}`,
		`{"traffic_split":true}`, `{"traffic_split":[25]}`, `{"traffic_split":101}`, `{"traffic_split":-0.1}`, `{"traffic_split":1e999}`,
		`{"traffic_split":NaN}`, `{"traffic_split":25}{}`, `{"traffic_split":25}x`, `{"traffic_split":25,"weight":1}`,
		`{"traffic_split":25,"by":7}`, `{"traffic_split":25,"by":"` + strings.Repeat("x", 201) + `"}`, `{"split":25}`,
	} {
		if c, err := parseChange([]byte(body)); err == nil {
			t.Errorf("%q is read as %v by %q", body, *c.TrafficSplit, c.By)
		}
	}
	for body, want := range map[string]float64{`{"traffic_split":25}`: 25, ` {"traffic_split": 0, "by": "ops"} `: 0, `{"traffic_split":1e2}`: 100, `{"traffic_split":0.001}`: 0.001} {
		if c, err := parseChange([]byte(body)); err != nil || *c.TrafficSplit != want {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func FuzzParseChange(f *testing.F) {
	f.Add([]byte(`{"traffic_split":25,"by":"ops"}`))
	f.Add([]byte(`{"traffic_split":1e999}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if c, err := parseChange(body); err == nil && (c.TrafficSplit == nil || checkPercent(*c.TrafficSplit) != nil || len(c.By) > 200) {
			t.Errorf("%q is accepted", body)
		}
	})
}
