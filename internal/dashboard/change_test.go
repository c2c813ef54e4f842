package dashboard

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// post sends a change as the page does.
func post(s http.Handler, body string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "http://dash.example/x/change", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "http://dash.example")
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func steering(source *fakeSource) *Server {
	return NewServer(NewHub(source, nil), Options{Controls: true, By: func(r *http.Request) string { return r.Header.Get("X-User") }})
}

func as(user string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("X-User", user) }
}

func TestEachActionAsksTheSourceForOneThing(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{`{"action":"split","route":"shop","percent":12.5,"seen":"v1"}`, `PATCH shop {"by":"anna","seen":"v1","traffic_split":12.5}`},
		{`{"action":"split","route":"shop","percent":0,"force":true}`, `PATCH shop {"by":"anna","force":true,"traffic_split":0}`},
		{`{"action":"split","route":"a/b ?#%é","percent":1}`, `PATCH a%2Fb%20%3F%23%25%C3%A9 {"by":"anna","traffic_split":1}`},
		{`{"action":"reset","route":"shop","seen":"v 1&x"}`, `DELETE shop/override?by=anna&seen=v+1%26x`},
		{`{"action":"drain","route":"shop","upstream":"10.0.0.1:80","seen":"v1"}`, `PATCH shop/upstreams/10.0.0.1:80 {"by":"anna","seen":"v1","state":"drain"}`},
		{`{"action":"drain","route":"shop","upstream":"unix//run/a.sock"}`, `PATCH shop/upstreams/unix%2F%2Frun%2Fa.sock {"by":"anna","state":"drain"}`},
		{`{"action":"ready","route":"shop","upstream":"[::1]:80","force":true}`, `PATCH shop/upstreams/%5B::1%5D:80 {"by":"anna","force":true,"state":"ready"}`},
		{`{"action":"weight","route":"shop","upstream":"a:80","weight":3,"seen":"v1"}`, `PATCH shop/upstreams/a:80 {"by":"anna","seen":"v1","weight":3}`},
		{`{"action":"reset_upstream","route":"shop","upstream":"a:80","force":true,"seen":"v1"}`, `DELETE shop/upstreams/a:80/override?by=anna&force=true&seen=v1`},
		{`{"action":"release_start","route":"shop","force":true,"seen":"v1"}`, `POST shop/release {"action":"start","by":"anna","force":true,"seen":"v1"}`},
		{`{"action":"release_pause","route":"shop","seen":"v1"}`, `POST shop/release {"action":"pause","by":"anna","seen":"v1"}`},
		{`{"action":"release_resume","route":"shop","seen":"v1"}`, `POST shop/release {"action":"resume","by":"anna","seen":"v1"}`},
		{`{"action":"release_approve","route":"shop","percent":50,"seen":"v1"}`, `POST shop/release {"action":"approve","by":"anna","percent":50,"seen":"v1"}`},
		{`{"action":"release_abort","route":"shop","seen":"v1"}`, `POST shop/release {"action":"abort","by":"anna","seen":"v1"}`},
		{`{"action":"probe","route":"shop","upstream":"a:80"}`, `POST shop/upstreams/a:80/probe {}`},
	} {
		source := &fakeSource{snapshot: twoRoutes(), answer: `{"secret":"x"}`}
		w := post(steering(source), c.change, as("anna"))
		if w.Code != http.StatusOK || !slices.Equal(source.asked, []string{c.want}) {
			t.Errorf("%s: %d %s\n%q, want\n%q", c.change, w.Code, w.Body, source.asked, c.want)
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: the answer of the source is handed on", c.change)
		}
	}
	source := &fakeSource{snapshot: twoRoutes()}
	post(steering(source), `{"action":"release_abort","route":"shop"}`)
	post(steering(source), `{"action":"reset","route":"shop"}`)
	if want := []string{`POST shop/release {"action":"abort"}`, `DELETE shop/override`}; !slices.Equal(source.asked, want) {
		t.Errorf("by nobody: %q, want %q", source.asked, want)
	}
}

func TestWhatIsNotOfThePageIsRefused(t *testing.T) {
	const good = `{"action":"split","route":"shop","percent":10}`
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			if r.Header.Set(name, value); value == "" {
				r.Header.Del(name)
			}
		}
	}
	for _, c := range []struct {
		claim, body string
		edit        func(*http.Request)
		status      int
		says        string
	}{
		{"another site by Origin", good, header("Origin", "https://evil.example"), 403, "another site"},
		{"another port", good, header("Origin", "http://dash.example:8080"), 403, "another site"},
		{"a sandboxed frame", good, header("Origin", "null"), 403, "another site"},
		{"another site by Sec-Fetch-Site", good, header("Sec-Fetch-Site", "cross-site"), 403, "another site"},
		{"another subdomain", good, header("Sec-Fetch-Site", "same-site"), 403, "another site"},
		{"nobody says from where", good, header("Origin", ""), 403, "scripts use the admin API"},
		{"a form", good, header("Content-Type", "application/x-www-form-urlencoded"), 415, "application/json"},
		{"text", good, header("Content-Type", "text/plain"), 415, "application/json"},
		{"no type", good, header("Content-Type", ""), 415, "application/json"},
		{"4 KB", strings.Repeat(" ", maxChange) + good, nil, 413, "larger than 4096 bytes"},
		{"1 MB", strings.Repeat("x", 1<<20), nil, 413, "larger than 4096 bytes"},
		{"no body", "", nil, 400, "decoding the change"},
		{"no JSON", "x", nil, 400, "decoding the change"},
		{"two values", good + good, nil, 400, "more than one value"},
		{"an unknown field", `{"action":"split","route":"shop","percent":10,"method":"DELETE"}`, nil, 400, "unknown field"},
		{"no action", `{"route":"shop"}`, nil, 400, "action: \\\"\\\" is none"},
		{"an unknown action", `{"action":"stop","route":"shop"}`, nil, 400, "write one of drain, probe, ready"},
		{"no route", `{"action":"reset"}`, nil, 400, "route is missing"},
		{"a way up", `{"action":"reset","route":".."}`, nil, 400, "route"},
		{"a way up from an upstream", `{"action":"probe","route":"shop","upstream":".."}`, nil, 400, "upstream"},
		{"no upstream", `{"action":"drain","route":"shop"}`, nil, 400, "upstream is missing"},
		{"an upstream too much", `{"action":"split","route":"shop","percent":1,"upstream":"a:80"}`, nil, 400, "upstream"},
		{"no percent", `{"action":"split","route":"shop"}`, nil, 400, "percent is missing"},
		{"a percent too much", `{"action":"reset","route":"shop","percent":1}`, nil, 400, "percent"},
		{"no weight", `{"action":"weight","route":"shop","upstream":"a"}`, nil, 400, "weight is missing"},
		{"a weight of half", `{"action":"weight","route":"shop","upstream":"a","weight":0.5}`, nil, 400, "decoding"},
		{"force where nothing is refused", `{"action":"reset","route":"shop","force":true}`, nil, 400, "force"},
		{"a number that is none", `{"action":"split","route":"shop","percent":1e999}`, nil, 400, "decoding"},
	} {
		source := &fakeSource{snapshot: twoRoutes()}
		if c.edit == nil {
			c.edit = func(*http.Request) {}
		}
		w := post(steering(source), c.body, c.edit)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || len(source.asked) > 0 {
			t.Errorf("%s: %d %s, want %d with %q; asked %q", c.claim, w.Code, w.Body, c.status, c.says, source.asked)
		}
		checkHeaders(t, c.claim, w.Result().Header)
	}
}

func TestNothingIsChangedWithoutControls(t *testing.T) {
	source := &fakeSource{snapshot: twoRoutes()}
	s := NewServer(NewHub(source, nil), Options{ReadOnlyWhy: "nobody has to log in"})
	w := post(s, `{"action":"split","route":"shop","percent":10}`)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "nobody has to log in") || len(source.asked) > 0 {
		t.Errorf("%d %s, asked %q", w.Code, w.Body, source.asked)
	}
}

func TestTheAnswerOfAChangeIsThatOfTheSource(t *testing.T) {
	const split = `{"action":"split","route":"shop","percent":10}`
	for _, c := range []struct {
		claim, change string
		status        int
		answer        string
		err           error
		wantStatus    int
		want          string
	}{
		{"done", split, 200, `{"name":"shop"}`, nil, 200, `{}`},
		{"done without words", split, 204, ``, nil, 200, `{}`},
		{"a conflict", split, 409, `{"error":"it has meanwhile been set to 5 %"}`, nil, 409, `{"error":"it has meanwhile been set to 5 %"}`},
		{"an error that is none", split, 503, `<html>`, nil, 503, `{"error":"it was refused with the status 503 (Service Unavailable), and nothing is said about why"}`},
		{"no answer", split, 0, ``, errors.New("connection refused"), 502, `{"error":"connection refused"}`},
		{"a strange status", split, 999, ``, nil, 502, `{"error":"the answer has the status 999"}`},
		{"control characters", split, 400, `{"error":"a\u001b[31m\u202eb"}`, nil, 400, `{"error":"a\\x1b[31m\\u202eb"}`},
		{"a probe", `{"action":"probe","route":"shop","upstream":"a:80"}`, 200,
			`{"steps":[{"step":"connect","ok":true,"detail":"10.0.0.1\u0007","ms":2},{"step":"tls","ok":false,"detail":"no","ms":30}],"works":false,"verdict":"it speaks HTTP","caddyfile":"upstream a:80 {\n\tx\n}"}`, nil, 200,
			`{"works":false,"text":"ok      connect          2 ms  10.0.0.1\\a\nfailed  tls             30 ms  no\n\nit speaks HTTP\n\nin the Caddyfile:\n    upstream a:80 {\n        x\n    }\n"}`},
		{"a probe that is none", `{"action":"probe","route":"shop","upstream":"a:80"}`, 200, `x`, nil, 502, `{"error":"the answer of the probe is not understood: invalid character 'x' looking for beginning of value"}`},
	} {
		source := &fakeSource{snapshot: twoRoutes(), status: c.status, answer: c.answer, err: c.err}
		w := post(steering(source), c.change)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.wantStatus || got != c.want {
			t.Errorf("%s: %d %s\nwant %d %s", c.claim, w.Code, got, c.wantStatus, c.want)
		}
	}
}

func TestAChangeIsShownAtOnce(t *testing.T) {
	source := &fakeSource{snapshot: twoRoutes()}
	s := steering(source)
	get(t, s, "/")
	source.set(func() {
		source.snapshot = twoRoutes()
		source.snapshot.Routes[0].Split = share(77)
	})
	post(s, `{"action":"split","route":"shop","percent":77}`)
	if got := dataOf(t, s, "/data?route=shop").Cells["share.text"]; got != "77 %" {
		t.Errorf("the share is shown as %s", got)
	}
}

func FuzzParseChange(f *testing.F) {
	f.Add([]byte(`{"action":"split","route":"shop","percent":10,"seen":"v1"}`), "anna")
	f.Add([]byte(`{"action":"drain","route":"a/b","upstream":"unix//run/a.sock","force":true}`), "")
	f.Add([]byte(`{"action":"reset_upstream","route":"%2e","upstream":"..%2f"}`), "\x00")
	f.Fuzz(func(t *testing.T, body []byte, by string) {
		c, err := parseChange(body)
		if err != nil {
			return
		}
		asked, err := c.call(by)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		path, _, _ := strings.Cut(asked.path, "?")
		for part := range strings.SplitSeq(path, "/") {
			if part == "" || part == "." || part == ".." {
				t.Errorf("%s: the path is %s", body, path)
			}
		}
		parts := 1
		for _, is := range []bool{actions[c.Action].of != "", c.Upstream != "", actions[c.Action].below != ""} {
			if is {
				parts++
			}
		}
		if strings.Count(path, "/")+1 != parts {
			t.Errorf("%s: the path is %s, which has not %d parts", body, path, parts)
		}
		if len(asked.path) > 12*len(body)+12*len(by)+100 {
			t.Errorf("%s: the path has %d bytes", body, len(asked.path))
		}
	})
}
