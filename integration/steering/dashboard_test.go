package steering

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// change asks a dashboard for a change, as its page does.
func change(s *server, path, body string, fields ...string) (status int, text string) {
	s.T.Helper()
	req, err := http.NewRequest(http.MethodPost, s.URL+path+"change", strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	answer := s.Do(req)
	return answer.StatusCode, answer.Body
}

// cells are what is live on a page.
func cells(s *server, path string) map[string]string {
	s.T.Helper()
	status, body := s.Get(path)
	if status != http.StatusOK {
		s.T.Fatalf("GET %s: %d %s", path, status, body)
	}
	var data struct {
		Cells map[string]string `json:"cells"`
	}
	if err := json.Unmarshal([]byte(body), &data); err != nil || len(data.Cells) == 0 {
		s.T.Fatalf("GET %s: %v\n%s", path, err, body)
	}
	return data.Cells
}

const steerable = `handle_path /board/* {
	proxyos_dashboard {
		controls on
	}
}
handle {
	%s
}`

// What is done on the page is done as by the admin API, by whoever is logged in, and is in force at once.
func TestADashboardSteers(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	const board = `{"handler": "subroute", "routes": [{"match": [{"path": ["/board/*"]}],
		"handle": [{"handler": "rewrite", "strip_path_prefix": "/board"}, {"handler": "proxyos_dashboard", "controls": true}]}]}`
	handler := fmt.Sprintf(`{"handler": "proxyos", "name": "app", "upstreams": [%q], "staging": {"upstreams": [%q]}, "traffic_split": 10}`, prod.Addr, stag.Addr)
	test := func(t *testing.T, s *server) {
		dial := prod.Addr
		for _, step := range []struct {
			body   string
			status int
			check  func() bool
		}{
			{`{"action":"split","route":"app","percent":40}`, 200, func() bool { return s.Route().TrafficSplit == 40 }},
			{`{"action":"reset","route":"app"}`, 200, func() bool { return s.Route().Override == nil }},
			{`{"action":"split","route":"app","percent":140}`, 400, func() bool { return s.Route().TrafficSplit == 10 }},
			{`{"action":"split","route":"nobody","percent":40}`, 404, func() bool { return true }},
			{`{"action":"weight","route":"app","upstream":"` + dial + `","weight":3}`, 200, func() bool { return s.Route().Groups[0].Upstreams[0].Weight == 3 }},
			{`{"action":"reset_upstream","route":"app","upstream":"` + dial + `"}`, 200, func() bool { return s.Route().Groups[0].Upstreams[0].Weight == 1 }},
			{`{"action":"drain","route":"app","upstream":"` + dial + `"}`, 409, func() bool { return !s.Route().Groups[0].Upstreams[0].Drained }},
			{`{"action":"drain","route":"app","upstream":"` + dial + `","force":true}`, 200, func() bool { return s.Route().Groups[0].Upstreams[0].Drained }},
			{`{"action":"ready","route":"app","upstream":"` + dial + `"}`, 200, func() bool { return !s.Route().Groups[0].Upstreams[0].Drained }},
			{`{"action":"drain","route":"app","upstream":"127.0.0.1:1"}`, 404, func() bool { return true }},
		} {
			if status, text := change(s, "/board/", step.body); status != step.status || !step.check() {
				t.Errorf("%s is answered with %d %s, want %d; the route is %+v", step.body, status, text, step.status, s.Route())
			}
		}
		if status, text := change(s, "/board/", `{"action":"split","route":"app","percent":40}`); status != 200 {
			t.Fatal(status, text)
		}
		if got := s.Tally(100); got["staging"] != 40 {
			t.Errorf("a hundred requests are answered by %v", got)
		}
		if by := s.Route().Override.SetBy; by != "127.0.0.1" {
			t.Errorf("the share was set by %q", by)
		}
		if _, page := s.Get("/board/"); !strings.Contains(page, "40 %") || !strings.Contains(page, "127.0.0.1") {
			t.Errorf("the page is\n%s", page)
		}
	}
	t.Run("Caddyfile", func(t *testing.T) {
		test(t, run(t, fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10"))))
	})
	t.Run("JSON", func(t *testing.T) {
		s := newServer(t)
		if err := s.LoadJSON(s.Routes(board, handler)); err != nil {
			t.Fatal(err)
		}
		test(t, s)
	})
}

// A change of what somebody else has changed meanwhile is refused, and says how it is now.
func TestADashboardOverwritesNobody(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := run(t, fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10", "release {\nhold 1h\n}")))
	var seen struct {
		Routes []struct {
			Version string `json:"version"`
			Release struct {
				Version string `json:"version"`
			} `json:"release"`
			Groups []struct {
				Upstreams []struct {
					Version string `json:"version"`
				} `json:"upstreams"`
			} `json:"groups"`
		} `json:"routes"`
	}
	look := func() {
		if _, text := s.Ask(http.MethodGet, "/proxyos/dashboard", ""); json.Unmarshal([]byte(text), &seen) != nil || len(seen.Routes) != 1 {
			t.Fatal(text)
		}
	}
	look()
	s.Split(33)
	route := seen.Routes[0]
	upstream := `"upstream":"` + prod.Addr + `","seen":"` + route.Groups[0].Upstreams[0].Version + `"`
	s.Ask(http.MethodPatch, "/proxyos/routes/app/upstreams/"+prod.Addr, `{"weight": 5, "by": "ops"}`)
	s.Ask(http.MethodPost, "/proxyos/routes/app/release", `{"action": "start", "by": "ops", "force": true}`)
	for body, want := range map[string]string{
		`{"action":"split","route":"app","percent":50,"seen":"` + route.Version + `"}`:                 "it has changed since you looked: it is 1 %",
		`{"action":"reset","route":"app","seen":"` + route.Version + `"}`:                              "it has changed since you looked",
		`{"action":"weight","route":"app","weight":2,` + upstream + `}`:                                "it has changed since you looked: it is weight 5",
		`{"action":"reset_upstream","route":"app",` + upstream + `}`:                                   "it has changed since you looked: it is weight 5",
		`{"action":"release_start","route":"app","force":true,"seen":"` + route.Release.Version + `"}`: "it has changed since you looked: it is running at 1 %",
	} {
		if status, text := change(s, "/board/", body); status != http.StatusConflict || !strings.Contains(text, want) {
			t.Errorf("%s is answered with %d %s, want 409 with %q", body, status, text, want)
		}
	}
	if r := s.Route(); r.TrafficSplit != 1 || r.Groups[0].Upstreams[0].Weight != 5 {
		t.Errorf("the route is %+v", r)
	}
	look()
	s.Ask(http.MethodPost, "/proxyos/routes/app/release", `{"action": "pause", "by": "ops"}`)
	if status, text := change(s, "/board/", `{"action":"release_abort","route":"app","seen":"`+seen.Routes[0].Release.Version+`"}`); status != 200 {
		t.Errorf("a release that has gone on cannot be aborted: %d %s", status, text)
	}
}

// Who is logged in is who makes a change.
func TestADashboardKnowsWhoIsLoggedIn(t *testing.T) {
	const hash = "$2a$04$YfxMvYYIBJgMNRekfCNXGOgQGNC0pm0iDs0YEyoyU0DNAvSOEMfx2"
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := run(t, "basic_auth /board/* {\neve "+hash+"\n}\n"+fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr)))
	if status, _ := change(s, "/board/", `{"action":"split","route":"app","percent":40}`); status != http.StatusUnauthorized {
		t.Errorf("without a password, a change is answered with %d", status)
	}
	req, err := http.NewRequest(http.MethodPost, s.URL+"/board/change", strings.NewReader(`{"action":"split","route":"app","percent":40}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.SetBasicAuth("eve", "pass")
	if answer := s.Do(req); answer.StatusCode != http.StatusOK || s.Route().Override.SetBy != "eve" {
		t.Errorf("the change is answered with %d %s, and made by %+v", answer.StatusCode, answer.Body, s.Route().Override)
	}
}

// An upstream that does not answer is shown down, with why and what to write, and up once it answers.
func TestADashboardSaysWhyAnUpstreamIsDown(t *testing.T) {
	prod, other := plain(t, "production", ""), plain(t, "other", "")
	s := run(t, fmt.Sprintf(steerable, "proxyos "+prod.Addr+" https://"+other.Addr+" {\nname app\n}"))
	s.Tally(4)
	find := func(text string) {
		eventually(t, text+" is shown", func() bool {
			for _, cell := range cells(s, "/board/data?route=app") {
				if strings.Contains(cell, text) {
					return true
				}
			}
			return false
		})
	}
	find("1 of 2 up")
	find("http://" + other.Addr)
	find("it answers in plain HTTP, but Caddy speaks HTTPS to it")
	prod.Stop()
	s.Tally(2)
	find("0 of 2 up")
	find("connection refused")
	status, text := change(s, "/board/", `{"action":"probe","route":"app","upstream":"`+other.Addr+`"}`)
	if status != http.StatusOK || !strings.Contains(text, "http://"+other.Addr) || !strings.Contains(text, `"works":false`) {
		t.Errorf("the probe is answered with %d %s", status, text)
	}
}

// The page is only steered from the page: nothing that another site's page or a stranger can send changes
// anything.
func TestADashboardIsSteeredByNobodyElse(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := run(t, fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10")))
	const body = `{"action":"split","route":"app","percent":90}`
	for name, test := range map[string]struct {
		body   string
		fields []string
		status int
	}{
		"another site":               {body, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another port":               {body, []string{"Sec-Fetch-Site", "same-site"}, 403},
		"an old browser, other site": {body, []string{"Sec-Fetch-Site", "", "Origin", "https://evil.test"}, 403},
		"an opaque origin":           {body, []string{"Sec-Fetch-Site", "", "Origin", "null"}, 403},
		"no browser":                 {body, []string{"Sec-Fetch-Site", ""}, 403},
		"a form":                     {body, []string{"Content-Type", "text/plain"}, 415},
		"a long body":                {`{"action":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413},
		"what no control asks for":   {`{"action":"stop","route":"app"}`, nil, 400},
		"a path in place of a route": {`{"action":"reset","route":".."}`, nil, 400},
		"an upstream as a path":      {`{"action":"drain","route":"app","upstream":"../../config"}`, nil, 404},
		"two values":                 {body + body, nil, 400},
	} {
		if status, text := change(s, "/board/", test.body, test.fields...); status != test.status {
			t.Errorf("%s: %d %s, want %d", name, status, text, test.status)
		}
	}
	req, err := http.NewRequest(http.MethodPost, s.URL+"/board/change", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.test" // pointed to this machine
	req.Header.Set("Origin", "http://evil.test")
	req.Header.Set("Content-Type", "application/json")
	if answer := s.Do(req); answer.Body != "" { // there is no such site
		t.Errorf("a name that was pointed to this machine: %d %s", answer.StatusCode, answer.Body)
	}
	if got := s.Route().TrafficSplit; got != 10 {
		t.Errorf("the share is %v %%", got)
	}
	for _, method := range []string{http.MethodOptions, http.MethodDelete, http.MethodGet} {
		req, err := http.NewRequest(method, s.URL+"/board/change", nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer := s.Do(req); answer.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", method, answer.StatusCode, answer.Body)
		}
	}
}

// A page in the browser of this machine cannot use a dashboard that only this machine reaches, by a name of its own
// that it has pointed here.
func TestADashboardOnLoopbackHasNoOtherName(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	_, port, _ := net.SplitHostPort(s.Addr)
	s.MustLoad("http://:" + port + " {\nbind 127.0.0.1\n" + fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr)) + "\n}")
	for host, status := range map[string]int{
		"localhost:" + port: 200, "127.0.0.1:" + port: 200, "app.localhost:" + port: 200, "[::1]:" + port: 200,
		"evil.test:" + port: 403, "localhost.evil.test": 403, "10.0.0.1": 403, "127.0.0.1.evil.test:" + port: 403,
	} {
		for _, path := range []string{"/board/", "/board/data"} {
			req := s.Request(http.MethodGet, path, nil)
			req.Host = host
			if answer := s.Do(req); answer.StatusCode != status {
				t.Errorf("%s%s is answered with %d, want %d", host, path, answer.StatusCode, status)
			}
		}
	}
}

// Controls need a guard that the config shows.
func TestADashboardWithControlsIsGuarded(t *testing.T) {
	const hash = "$2a$04$YfxMvYYIBJgMNRekfCNXGOgQGNC0pm0iDs0YEyoyU0DNAvSOEMfx2"
	const auth = " {\neve " + hash + "\n}\n"
	const board = "proxyos_dashboard {\ncontrols on\n}\n"
	const inPath = "handle_path /board/* {\n" + board + "}\n"
	port, ca := proxytest.PortOf(t, freeAddr(t)), proxytest.NewAuthority(t).File
	s := newServer(t)
	for name, test := range map[string]struct {
		listen, site string
		isGuarded    bool
	}{
		"nothing":                               {"", board, false},
		"loopback":                              {"bind 127.0.0.1", board, true},
		"loopback of both kinds":                {"bind 127.0.0.1 ::1", board, true},
		"loopback and more":                     {"bind 127.0.0.1 0.0.0.0", board, false},
		"a password":                            {"", "basic_auth" + auth + board, true},
		"a password in a path":                  {"", "basic_auth /board/*" + auth + inPath, true},
		"a password above the path":             {"", "basic_auth /*" + auth + inPath, true},
		"a password elsewhere":                  {"", "basic_auth /other/*" + auth + inPath, false},
		"a password for a part":                 {"", "basic_auth /board/x/*" + auth + inPath, false},
		"a password inside the path":            {"", "handle_path /board/* {\nbasic_auth" + auth + board + "}\n", true},
		"a password for some methods":           {"", "@post method POST\nbasic_auth @post" + auth + board, false},
		"a password of another site's path":     {"", "handle_path /other/* {\nbasic_auth" + auth + "respond x\n}\n" + inPath, false},
		"forward_auth":                          {"", "forward_auth 127.0.0.1:1 {\nuri /auth\n}\n" + board, true},
		"forward_auth elsewhere":                {"", "forward_auth /x 127.0.0.1:1 {\nuri /auth\n}\n" + board, false},
		"reverse_proxy before it":               {"", "reverse_proxy /x 127.0.0.1:1\n" + board, false},
		"addresses":                             {"", "@known remote_ip 10.0.0.0/8\nhandle @known {\n" + board + "}\n", true},
		"addresses of clients":                  {"", "@known client_ip private_ranges\nhandle @known {\n" + board + "}\n", true},
		"strangers are refused":                 {"", "@strangers not remote_ip 10.0.0.0/8\nrespond @strangers 403\n" + board, true},
		"strangers are dropped":                 {"", "@strangers not remote_ip 10.0.0.0/8\nabort @strangers\n" + board, true},
		"a few are refused":                     {"", "@few remote_ip 10.0.0.0/8\nrespond @few 403\n" + board, false},
		"strangers are refused elsewhere":       {"", "@strangers {\npath /x\nnot remote_ip 10.0.0.0/8\n}\nrespond @strangers 403\n" + board, false},
		"it is said to be":                      {"", strings.Replace(board, "on\n", "on\nallow_unauthenticated\n", 1), true},
		"forward_auth that lets others pass":    {"", "forward_auth 127.0.0.1:1 {\nuri /auth\n@bad status 401\nhandle_response @bad {\nlog_append x y\n}\n}\n" + board, false},
		"strangers get a hint":                  {"", "@strangers not remote_ip 10.0.0.0/8\nrespond @strangers 103\n" + board, false},
		"a client certificate of anybody":       {"tls internal {\nclient_auth {\nmode require_and_verify\n}\n}", board, false},
		"a client certificate":                  {"tls internal {\nclient_auth {\nmode require_and_verify\ntrust_pool file " + ca + "\n}\n}", board, true},
		"a client certificate, if there is one": {"tls internal {\nclient_auth {\nmode verify_if_given\ntrust_pool file " + ca + "\n}\n}", board, false},
	} {
		scheme := "http"
		if strings.HasPrefix(test.listen, "tls") {
			scheme = "https"
		}
		config := scheme + "://localhost:" + port + " {\n" + test.listen + "\n" + test.site + "}\n"
		switch err := s.Validate(adapt(t, config)); {
		case test.isGuarded && err != nil:
			t.Errorf("%s: %v", name, err)
		case !test.isGuarded && (err == nil || !strings.Contains(err.Error(), "allow_unauthenticated")):
			t.Errorf("%s: it loads, with %v\n%s", name, err, config)
		}
	}
}

// What guards another site of the server, or may be left out, is no guard.
func TestWhatGuardsOthersIsNoGuardOfADashboard(t *testing.T) {
	ca, port := proxytest.NewAuthority(t).File, proxytest.PortOf(t, freeAddr(t))
	s := newServer(t)
	const board = `{"handler": "proxyos_dashboard", "controls": true}`
	login := `{"handler": "authentication", "providers": {"http_basic": {"accounts": [{"username": "eve", "password": "$2a$04$YfxMvYYIBJgMNRekfCNXGOgQGNC0pm0iDs0YEyoyU0DNAvSOEMfx2"}]}}}`
	routes := func(routes string) string {
		return `{"apps": {"http": {"servers": {"test": {"listen": [":` + port + `"], "automatic_https": {"disable": true}, "routes": [` + routes + `]}}}}}`
	}
	for name, test := range map[string]struct {
		config    string
		isGuarded bool
	}{
		"a certificate for another site": {adapt(t, "https://*.example.com:"+port+" {\ntls internal {\nclient_auth {\nmode require_and_verify\ntrust_pool file "+ca+"\n}\n}\nrespond hi\n}\n"+
			"https://foo.test:"+port+" {\ntls internal\nproxyos_dashboard {\ncontrols on\n}\n}\n"), false},
		"a password that a group leaves out": {routes(`{"group": "g", "match": [{"header": {"X-Skip": ["1"]}}], "handle": [{"handler": "vars"}]}, {"group": "g", "handle": [` + login + `]}, {"handle": [` + board + `]}`), false},
		"a password for all":                 {routes(`{"handle": [` + login + `]}, {"handle": [` + board + `]}`), true},
		"a password in the same route":       {routes(`{"handle": [` + login + `, ` + board + `]}`), true},
		"a password after the page":          {routes(`{"handle": [` + board + `, ` + login + `]}`), false},
	} {
		switch err := s.Validate(test.config); {
		case test.isGuarded && err != nil:
			t.Errorf("%s: %v", name, err)
		case !test.isGuarded && (err == nil || !strings.Contains(err.Error(), "allow_unauthenticated")):
			t.Errorf("%s: it loads, with %v", name, err)
		}
	}
}

// What loads as guarded is, whatever else the config does with a request on its way.
func TestThereIsNoWayAroundTheGuardOfADashboard(t *testing.T) {
	const auth = " {\neve $2a$04$YfxMvYYIBJgMNRekfCNXGOgQGNC0pm0iDs0YEyoyU0DNAvSOEMfx2\n}\n"
	const board = "proxyos_dashboard {\ncontrols on\n}\n"
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	route := "handle /app {\n" + blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10") + "\n}\n"
	for name, test := range map[string]struct {
		site, body string // what follows the scheme of the site's addresses, with its port as %[1]s
		path, host string
		fields     []string
	}{
		"a path that is cut off":         {":%[1]s", "basic_auth /proxyos/*" + auth + "handle_path /tools/* {\nhandle_path /proxyos/* {\n" + board + "}\n}\n", "/tools/proxyos/change", "app.test", nil},
		"a path that is rewritten":       {":%[1]s", "route {\nbasic_auth /admin/*" + auth + "uri strip_prefix /x\nproxyos_dashboard /admin/* {\ncontrols on\n}\n}\n", "/x/admin/change", "app.test", nil},
		"another address of the site":    {"localhost:%[1]s/a/*, http://app.test:%[1]s", "basic_auth /a/*" + auth + board, "/change", "app.test", nil},
		"a name that was pointed here":   {":%[1]s", "@lan remote_ip 127.0.0.0/8\nhandle @lan {\n" + board + "}\n", "/change", "evil.test", nil},
		"another, on loopback":           {":%[1]s", "bind 127.0.0.1\nhandle /x/* {\n" + board + "}\n", "/x/change", "evil.test", nil},
		"another, of a site with many":   {"*.*:%[1]s", "bind 127.0.0.1\n" + board, "/change", "evil.test", nil},
		"a proxy on the same machine":    {":%[1]s", "bind 127.0.0.1\n" + board, "/change", "localhost", []string{"X-Forwarded-For", "192.0.2.1"}},
		"a page before the password":     {":%[1]s", "route {\nreverse_proxy " + prod.Addr + " {\nhandle_response {\n" + board + "}\n}\nbasic_auth" + auth + "}\n", "/change", "app.test", nil},
		"no password":                    {":%[1]s", "basic_auth" + auth + board, "/change", "app.test", nil},
		"a name of the user, as a field": {":%[1]s", "basic_auth /x" + auth + board, "/change", "app.test", []string{"Http.auth.user.id", "eve"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			config := "http://" + fmt.Sprintf(test.site, proxytest.PortOf(t, s.Addr)) + " {\n" + test.body + route + "}\n"
			if err := s.Load(config); err != nil {
				if !strings.Contains(err.Error(), "allow_unauthenticated") {
					t.Fatal(err)
				}
				return
			}
			req := s.Request(http.MethodPost, test.path, strings.NewReader(`{"action":"split","route":"app","percent":90,"force":true}`), append(test.fields, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")...)
			req.Host = test.host + ":" + proxytest.PortOf(t, s.Addr)
			answer := s.Do(req)
			if got := s.Route().TrafficSplit; got != 10 || answer.StatusCode == http.StatusOK {
				t.Errorf("a stranger is answered with %d %s, and the share is %v %%", answer.StatusCode, answer.Body, got)
			}
		})
	}
}

// Nor does an open page keep Caddy from ending.
func TestAnOpenDashboardLetsCaddyEnd(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	for range lab.Sized(2, 10, 2) { // Caddy stops its apps in any order
		c := startChild(t, fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr)))
		res, err := http.Get(c.URL + "/board/events")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := res.Body.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.Stop()
		res.Body.Close()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Caddy has ended after %s", took)
		}
	}
}

// A site with a dashboard and a route, and no path, is a mistake that shows.
func TestADashboardThatTakesAllIsWarnedOf(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := run(t, "proxyos_dashboard\n"+blueGreenDirective(prod.Addr, stag.Addr))
	if logged := s.Logs.Entries("a dashboard answers all requests of this site"); len(logged) != 1 || logged[0]["route"] != "app" {
		t.Errorf("logged is %v", logged)
	}
	s.MustLoad(s.Site(fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr))))
	if logged := s.Logs.Entries("a dashboard answers all requests of this site"); len(logged) != 1 {
		t.Errorf("logged is %v", logged)
	}
}

// A page needs the slash at its end, for its links.
func TestADashboardWithoutItsSlash(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := run(t, "handle_path /board* {\nproxyos_dashboard\n}\n"+blueGreenDirective(prod.Addr, stag.Addr))
	answer := s.Do(s.Request(http.MethodGet, "/board", nil))
	if at, err := answer.Location(); answer.StatusCode != http.StatusPermanentRedirect || err != nil || at.Path != "/board/" {
		t.Errorf("/board is answered with %d to %v, %v", answer.StatusCode, at, err)
	}
	if status, _ := s.Get("/board/"); status != http.StatusOK {
		t.Errorf("/board/ is answered with %d", status)
	}
}

// A reload ends the streams of events, so that the old config can stop, and nothing is left of them.
func TestAReloadEndsTheStreamsOfADashboard(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	config := quiet + s.Site(fmt.Sprintf(steerable, blueGreenDirective(prod.Addr, stag.Addr)))
	s.MustLoad(config)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	open := func() io.ReadCloser {
		res, err := client.Get(s.URL + "/board/events")
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != "text/event-stream" {
			t.Fatalf("the events are answered with %d %s", res.StatusCode, got)
		}
		return res.Body
	}
	before := 0
	for i := range lab.Sized(10, 200, 20) {
		if i == 5 { // what a first load begins once is there
			client.CloseIdleConnections()
			before = runtime.NumGoroutine()
		}
		stream := open()
		if _, err := stream.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		s.MustLoad(config)
		if _, err := io.Copy(io.Discard, stream); err != nil && !strings.Contains(err.Error(), "EOF") {
			t.Errorf("the stream ends with %v", err)
		}
		stream.Close()
	}
	client.CloseIdleConnections()
	eventually(t, fmt.Sprintf("there are no more goroutines than the %d before", before), func() bool { return runtime.NumGoroutine() <= before })
}
