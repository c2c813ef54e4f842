package steering

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAMatcherThatFailsLeavesTheRequestToTheSplit(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	const expression = "int({http.request.header.X-N}) > 1"
	for name, when := range map[string]struct{ option, caddyfile, json string }{
		"staging_when":    {"staging_when", "staging_when expression `" + expression + "`", `{"expression": "` + expression + `"}`},
		"production_when": {"production_when", "production_when expression `" + expression + "`", `{"expression": "` + expression + `"}`},
		"negated":         {"staging_when", "staging_when not expression `" + expression + "`", `{"not": [{"expression": "` + expression + `"}]}`},
		"with others": {"staging_when", "staging_when {\nmethod GET\nexpression `" + expression + "`\n}",
			`{"method": ["GET"], "expression": "` + expression + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			handler := fmt.Sprintf(`{"handler": "proxyos", "name": "app", "upstreams": [%q], "staging": {"upstreams": [%q]}, %q: %s}`,
				prod.Addr, stag.Addr, when.option, when.json)
			bothWays(t, blueGreenDirective(prod.Addr, stag.Addr, when.caddyfile), handler, func(t *testing.T, s *server) {
				for percent, want := range map[float64]int{0: 0, 50: 10, 100: 20} {
					s.Split(percent)
					staged := 0
					for range 20 {
						if group, _ := new(visitor).Visit(t, s); group == "staging" {
							staged++
						}
					}
					if staged != want {
						t.Errorf("at %v %%, %d of 20 requests go to staging, want %d", percent, staged, want)
					}
				}
				lines := s.Logs.Entries("a matcher fails")
				if len(lines) != 1 {
					t.Fatalf("%d lines for 60 requests, want 1", len(lines))
				}
				if e := lines[0]; e["level"] != "warn" || e["route"] != "app" || !strings.HasPrefix(fmt.Sprint(e["error"]), when.option+": ") {
					t.Errorf("logged %v", e)
				}
			})
		})
	}
}

func TestOtherMatchersCountBesideOneThatFails(t *testing.T) {
	s, _, _ := blueGreen(t, "staging_when expression `int({header.X-N}) > 1`", "staging_when header X-Tester 1",
		"production_when expression `int({header.X-M}) > 1`", "production_when header X-Stable 1")
	for _, c := range []struct {
		who     string
		visitor visitor
		want    string
	}{
		{"a tester", withHeader("X-Tester", "1"), "staging"},
		{"a stable one", withHeader("X-Stable", "1"), "production"},
		{"one who matches the expression", withHeader("X-N", "2"), "staging"},
		{"one who makes it false", withHeader("X-N", "1"), "production"},
		{"one with a text for a number", visitor{Header: http.Header{"X-N": {"many"}}}, "production"},
	} {
		if group, _ := c.visitor.Visit(t, s); group != c.want {
			t.Errorf("%s comes to %s, want %s", c.who, group, c.want)
		}
	}
}
