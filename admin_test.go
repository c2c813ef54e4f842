package proxyos

import (
	"encoding/json"
	"net/http"
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
	for _, body := range []string{
		`{"traffic_split":25,"by":"ops"}`, ` {"traffic_split": 0} `, `{"traffic_split":100}`, `{"traffic_split":0.001}`, `{"traffic_split":1e999}`,
		`{"traffic_split":-0}`, `{"Traffic_Split":1,"traffic_split":2}`, `{"traffic_split":25}{}`, `{"traffic_split":25} ]`,
		"{\"traffic_split\":25,\"by\":\"\xff\\u0000\\ud800\"}", `null`, `[]`, ``, strings.Repeat("[", 10_001),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseChange(body)
		if err != nil {
			if err.Error() == "" || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is rejected with %q", body, err)
			}
			return
		}
		if !json.Valid(body) || c.TrafficSplit == nil || checkPercent(*c.TrafficSplit) != nil || len(c.By) > 200 {
			t.Fatalf("%q is accepted", body)
		}
		encoded, err := json.Marshal(map[string]any{"traffic_split": *c.TrafficSplit, "by": c.By})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseChange(encoded); err != nil || *back.TrafficSplit != *c.TrafficSplit || back.By != c.By {
			t.Errorf("%q is read as %v by %q, which does not survive as %s: %v", body, *c.TrafficSplit, c.By, encoded, err)
		}
	})
}

func TestWhoMakesAChange(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:4000": "127.0.0.1", "[::1]:4000": "::1", "@": "unix socket", "": "unix socket"} {
		if got := caller(&http.Request{RemoteAddr: address}); got != want {
			t.Errorf("%q is shown as %q, want %q", address, got, want)
		}
	}
}
