package dashboard

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// Private serves a page to one person on one machine, who has been told a link that works once. It makes that
// browser known by a cookie. Browsers send cookies to all ports of a host, so that the cookie is for a path that
// nobody else can know.
type Private struct {
	page   http.Handler
	host   string // with the port
	path   string // of the page; begins and ends with a slash
	cookie string // its value

	mu    sync.Mutex
	token string // of the link; empty once it has been used
}

// privateCookie is the name of the cookie.
const privateCookie = "proxyos_dashboard"

// NewPrivate returns a private page that is reached at a host, such as 127.0.0.1:5000.
func NewPrivate(page http.Handler, host string) *Private {
	return &Private{page: page, host: host, path: "/" + strings.ToLower(rand.Text()) + "/", cookie: rand.Text(), token: rand.Text()}
}

// Link returns the link that works once.
func (p *Private) Link() string {
	return (&url.URL{Scheme: "http", Host: p.host, Path: p.path, RawQuery: url.Values{"token": {p.token}}.Encode()}).String()
}

// ServeHTTP serves the page to the browser that has opened the link, and nobody else.
func (p *Private) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if r.Host != p.host { // a name that somebody has pointed to this machine
		http.Error(w, "This page is only at "+p.host+".", http.StatusMisdirectedRequest)
		return
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		http.Error(w, "Another page may not use this one.", http.StatusForbidden)
		return
	}
	cookie, err := r.Cookie(privateCookie)
	isKnown := err == nil && strings.HasPrefix(r.URL.Path, p.path) && isEqual(cookie.Value, p.cookie)
	if token := r.URL.Query().Get("token"); token != "" && r.Method == http.MethodGet && !isKnown {
		p.open(w, token)
		return
	}
	if !isKnown {
		http.Error(w, "Open the link that `caddy proxyos dashboard` has printed. It works once, in one browser.", http.StatusForbidden)
		return
	}
	p.page.ServeHTTP(w, r)
}

// open makes a browser known. It goes on from a page, not by a redirect: a strict cookie is not sent with one that
// began elsewhere, such as in a terminal that is a page itself.
func (p *Private) open(w http.ResponseWriter, token string) {
	p.mu.Lock()
	isRight := p.token != "" && isEqual(token, p.token)
	if isRight {
		p.token = ""
	}
	p.mu.Unlock()
	if !isRight {
		http.Error(w, "This link is not valid, or has been used. Start `caddy proxyos dashboard` again.", http.StatusForbidden)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: privateCookie, Value: p.cookie, Path: p.path, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(`<!doctype html><meta http-equiv="refresh" content="0;url=` + p.path + `"><title>proxyos</title><p><a href="` + p.path + `">Go on to the dashboard</a>`))
}

func isEqual(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
