package dashboard

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestTheLastSegmentOfThePathSaysWhatIsServed(t *testing.T) {
	s := NewServer(NewHub(&fakeSource{snapshot: twoRoutes()}, nil), Options{Controls: true})
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
		allow        string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8", ""},
		{"HEAD", "/", 200, "text/html; charset=utf-8", ""},
		{"GET", "/any/prefix/", 200, "text/html; charset=utf-8", ""},
		{"GET", "/a/?route=shop", 200, "text/html; charset=utf-8", ""},
		{"GET", "/a/?route=nas.example.com", 200, "text/html; charset=utf-8", ""},
		{"GET", "/a/?route=none", 404, "text/html; charset=utf-8", ""},
		{"GET", "/a/style.css", 200, "text/css; charset=utf-8", ""},
		{"GET", "/a/script.js", 200, "text/javascript; charset=utf-8", ""},
		{"GET", "/a/data?route=shop", 200, "application/json", ""},
		{"GET", "/a", 404, "application/json", ""},
		{"GET", "/a/page.html", 404, "application/json", ""},
		{"GET", "/a/../x", 404, "application/json", ""},
		{"POST", "/", 405, "application/json", "GET, HEAD"},
		{"OPTIONS", "/", 405, "application/json", "GET, HEAD"},
		{"HEAD", "/events", 405, "application/json", "GET"},
		{"GET", "/change", 405, "application/json", "POST, PATCH"},
		{"OPTIONS", "/change", 405, "application/json", "POST, PATCH"},
		{"DELETE", "/change", 405, "application/json", "POST, PATCH"},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		h := w.Result().Header
		if w.Code != c.status || h.Get("Content-Type") != c.contentType || h.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %s, allowed %q; want %d %s, %q", c.method, c.path, w.Code, h.Get("Content-Type"), h.Get("Allow"), c.status, c.contentType, c.allow)
		}
		checkHeaders(t, c.method+" "+c.path, h)
	}
}

// checkHeaders checks what each answer must have, and what none may have.
func checkHeaders(t *testing.T, of string, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": policy,
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %s is %q", of, name, got)
		}
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: it has %s", of, name)
		}
	}
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, directive) {
			t.Errorf("the policy has no %s", directive)
		}
	}
}

func TestHostileTextIsShownAsText(t *testing.T) {
	calm := NewServer(calmHub(t), Options{Controls: true})
	for _, text := range []string{
		`<img src=x onerror=alert(1)>`, `"><script>alert(1)</script>`, `' onmouseover='alert(1)`, `javascript:alert(1)`, `{{.}}`, `</script>`,
		"\u202egnp.exe", "\x1b[2J\x1b]0;x\a", "a\x00b", "\xff\xfe", "\u2028\u2029", strings.Repeat("x", 10<<10), strings.Repeat("\x1b", 10<<10), "..", "a/b?c#d%2F",
	} {
		r := shop()
		r.Name, r.Label, r.Site, r.SetBy, r.Version, r.SetAt = text, text, text, text, text, r.Groups[0].Upstreams[1].Since
		for k := range r.Groups {
			for i := range r.Groups[k].Upstreams {
				u := &r.Groups[k].Upstreams[i]
				u.Address, u.Dial, u.Speaks, u.Problem, u.Hint, u.Fix, u.SetBy, u.SetAt, u.Version = text, text, text, text, text, text, text, r.SetAt, text
				u.Health, u.Certificate = text, &Certificate{State: text, Subject: text, Problem: text}
			}
		}
		r.Release.Phase, r.Release.Reason, r.Release.Edited, r.Release.Hold, r.Release.Lasted, r.Release.Evidence, r.Release.Version = text, text, text, text, text, []string{text}, text
		source := &fakeSource{snapshot: &Snapshot{Routes: []Route{r}, Changes: []Change{{Route: text, What: text, From: text, To: text, By: text, Cause: text}}}}
		hub := NewHub(source, nil)
		hub.take(t.Context())
		source.set(func() { source.err = errors.New(text) })
		hub.take(t.Context())
		s := NewServer(hub, Options{Controls: true, Title: text})
		for query, calmQuery := range map[string]string{"": "", "?" + url.Values{"route": {text}}.Encode(): "?route=shop"} {
			page := open(t, s, "/"+query)
			want := open(t, calm, "/"+calmQuery)
			if got, want := page.tags(), want.tags(); got != want {
				t.Errorf("%.20q %s: other elements and attributes than of a calm page:\n%s\n%s", text, query, got, want)
			}
			for cell, value := range page.cells(t) {
				if strings.ContainsAny(value, "\x00\x1b\u202e\u2028\a") && !strings.HasSuffix(cell, "version") {
					t.Errorf("%.20q %s: cell %s has control characters: %.40q", text, query, cell, value)
				}
				if len([]rune(value)) > 3*longText && !strings.HasSuffix(cell, "version") {
					t.Errorf("%.20q %s: cell %s has %d bytes", text, query, cell, len(value))
				}
			}
		}
	}
}

func TestAFileIsServedAsItIs(t *testing.T) {
	s := NewServer(NewHub(&fakeSource{}, nil), Options{})
	for path, want := range map[string]string{"/script.js": "'use strict'", "/style.css": "prefers-color-scheme: dark"} {
		if body := get(t, s, path).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s: there is no %q", path, want)
		}
	}
}

func TestTheScriptNeverMakesHTML(t *testing.T) {
	script := get(t, NewServer(NewHub(&fakeSource{}, nil), Options{}), "/script.js").Body.String()
	for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "createContextualFragment", "http:", "https:"} {
		if strings.Contains(script, way) {
			t.Errorf("the script has %s", way)
		}
	}
}
