package dashboard

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"

	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// Options is how a dashboard is served.
type Options struct {
	Title       string                     // default: "proxyos"
	Controls    bool                       // routes can be steered
	By          func(*http.Request) string // who makes a request; empty if that is not known
	ReadOnlyWhy string                     // why there are no controls, where there are none
}

// Server serves a dashboard. It goes by the last segment of a path, so it can be below any prefix that
// ends with a slash:
//
//	GET  …/           the page of all routes; ?route= that of one
//	GET  …/events     what changes on that page, as server-sent events; ?route= likewise
//	GET  …/data       all that changes on it, as JSON; ?route= likewise
//	POST …/change     steers a route
//	GET  …/style.css, …/script.js
type Server struct {
	hub     *Hub
	options Options
	crossed *http.CrossOriginProtection
}

// NewServer returns a server of what a hub knows.
func NewServer(hub *Hub, o Options) *Server {
	if o.Title == "" {
		o.Title = "proxyos"
	}
	o.Title = short(o.Title)
	if o.ReadOnlyWhy == "" {
		o.ReadOnlyWhy = "this page only shows; it has no controls"
	}
	return &Server{hub: hub, options: o, crossed: http.NewCrossOriginProtection()}
}

//go:embed page.html style.css script.js
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "page.html"))

// ServeHTTP serves what the last segment of the path names.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	var serve http.HandlerFunc
	methods := []string{http.MethodGet, http.MethodHead}
	switch r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] {
	case "":
		serve = s.servePage
	case "style.css":
		serve = fileServer("style.css", "text/css; charset=utf-8")
	case "script.js":
		serve = fileServer("script.js", "text/javascript; charset=utf-8")
	case "data":
		serve = s.serveData
	case "events":
		serve, methods = s.serveEvents, []string{http.MethodGet}
	case "change":
		serve, methods = s.serveChange, []string{http.MethodPost, http.MethodPatch}
	default:
		failed(w, http.StatusNotFound, "there is nothing here; the page is at a path that ends with a slash")
		return
	}
	for _, method := range methods {
		if r.Method == method {
			serve(w, r)
			return
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	failed(w, http.StatusMethodNotAllowed, "the method "+short(r.Method)+" is not for this; send "+strings.Join(methods, " or "))
}

// policy lets the page have its own script, style and connections, and an icon in the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// longestRef is the largest length of what a route is called by, in bytes. It bounds what viewers can
// have a hub keep.
const longestRef = 16 << 10

// topic is the page that a request is about.
func (s *Server) topic(r *http.Request) topic {
	route := r.URL.Query().Get("route")
	return topic{route: route[:min(len(route), longestRef)], controls: s.options.Controls}
}

// page is what the template gets.
type page struct {
	*view
	Options
	Topic string
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	v := s.hub.look(r.Context(), s.topic(r))
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, page{v, s.options, s.topic(r).route}); err != nil {
		failed(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.Missing != "" {
		w.WriteHeader(http.StatusNotFound)
	}
	w.Write(b.Bytes())
}

func (s *Server) serveData(w http.ResponseWriter, r *http.Request) {
	data := s.hub.data(r.Context(), s.topic(r))
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
}

func fileServer(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		content, err := files.ReadFile(name)
		if err != nil { // it is in the binary
			panic(err)
		}
		w.Header().Set("Content-Type", contentType)
		w.Write(content)
	}
}

// failed answers with an error in JSON, as the admin API does.
func failed(w http.ResponseWriter, status int, text string) {
	answer(w, status, struct {
		Error string `json:"error"`
	}{printable.Cut(text, longText)})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // the client may have gone
}
