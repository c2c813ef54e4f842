package steering

import (
	"fmt"
	"net/http"
	"testing"
)

// checkForced checks a route that forces testers to staging, and stable ones to production.
func checkForced(t *testing.T, s *server, tester, stable visitor) {
	t.Helper()
	both := visitor{Header: make(http.Header)}
	for _, v := range []visitor{tester, stable} {
		for name, values := range v.Header {
			both.Header[name] = append(both.Header[name], values...)
		}
	}
	for _, percent := range []float64{0, 50, 100} {
		s.Split(percent)
		for _, forced := range []struct {
			who  string
			v    visitor
			want string
		}{{"a tester", tester, "staging"}, {"a stable one", stable, "production"}, {"one who is both", both, "production"}} {
			for range 5 {
				if group, given := forced.v.Visit(t, s); group != forced.want || given != nil {
					t.Errorf("at %v %%, %s comes to %s and is given %v; want %s and no cookie", percent, forced.who, group, given, forced.want)
				}
			}
		}
	}
	// forced requests take no turns of the split
	s.Split(50)
	before := s.Route().Groups[staging].Requests
	for range 10 {
		new(visitor).Visit(t, s)
		tester.Visit(t, s)
	}
	if got := s.Route().Groups[staging].Requests - before; got != 15 {
		t.Errorf("of 10 requests at 50 %% and 10 forced ones, staging had %d, want 15", got)
	}
}

func TestForcedRequestsAtAnySplit(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	for name, config := range map[string]func(s *server) string{
		"inline": func(s *server) string {
			return s.BlueGreen(prod, stag, "staging_when header X-Tester 1", "production_when header X-Stable 1")
		},
		"a list": func(s *server) string {
			return s.BlueGreen(prod, stag, "staging_when path /never", "staging_when header X-Tester 1",
				"production_when header X-Stable 1", "production_when query never=1")
		},
		"named": func(s *server) string {
			return quiet + s.Site("@testers header X-Tester 1\n@stable {\nheader X-Stable 1\nmethod GET\n}\n"+
				blueGreenDirective(prod.Addr, stag.Addr, "staging_when @testers", "production_when @stable"))
		},
		"an expression": func(s *server) string {
			return s.BlueGreen(prod, stag, "staging_when expression `{header.X-Tester} == '1'`", "production_when header_regexp X-Stable ^1$")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.MustLoad(config(s))
			checkForced(t, s, withHeader("X-Tester", "1"), withHeader("X-Stable", "1"))
		})
	}
	for name, when := range map[string][2]string{
		"JSON, a set":   {`{"header": {"X-Tester": ["1"]}}`, `{"header": {"X-Stable": ["1"]}}`},
		"JSON, a list":  {`[{"path": ["/never"]}, {"header": {"X-Tester": ["1"]}}]`, `[{"header": {"X-Stable": ["1"]}}]`},
		"JSON, negated": {`{"not": [{"header": {"X-Tester": null}}]}`, `{"not": [{"header": {"X-Stable": null}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := runJSON(t, fmt.Sprintf(`{"handler": "proxyos", "name": "app", "upstreams": [%q], "staging": {"upstreams": [%q]},
				"staging_when": %s, "production_when": %s}`, prod.Addr, stag.Addr, when[0], when[1]))
			checkForced(t, s, withHeader("X-Tester", "1"), withHeader("X-Stable", "1"))
		})
	}
}

func TestTestersByCookieQueryAndAddress(t *testing.T) {
	s, _, _ := blueGreen(t, "staging_when header_regexp Cookie \\bcrew=1\\b", "staging_when query beta=1", "production_when remote_ip 192.0.2.1")
	if group, _ := new(visitor).Visit(t, s); group != "production" {
		t.Errorf("somebody comes to %s", group)
	}
	v := withHeader("Cookie", "a=b; crew=1")
	if group, _ := v.Visit(t, s); group != "staging" {
		t.Errorf("a tester by cookie comes to %s", group)
	}
	if _, group := s.Get("/?beta=1"); group != "staging" {
		t.Errorf("a tester by query comes to %s", group)
	}
}
