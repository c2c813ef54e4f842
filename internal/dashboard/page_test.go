package dashboard

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// get asks a server for a path.
func get(t *testing.T, s http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// document is a page that was parsed.
type document struct {
	elements []*html.Node
	size     int
}

func open(t *testing.T, s http.Handler, path string) *document {
	t.Helper()
	w := get(t, s, path)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	root, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{size: w.Body.Len()}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			d.elements = append(d.elements, n)
		}
	}
	return d
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// cells returns what the page shows in each of its cells.
func (d *document) cells(t *testing.T) map[string]string {
	cells := make(map[string]string)
	for _, n := range d.elements {
		name, ok := attribute(n, "data-cell")
		if !ok {
			continue
		}
		value := textOf(n)
		if as, ok := attribute(n, "data-as"); as == "hidden" {
			if value = ""; slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == as }) {
				value = "hidden"
			}
		} else if ok {
			value, _ = attribute(n, as)
		}
		if before, ok := cells[name]; ok && before != value {
			t.Errorf("cell %s is %q here and %q there", name, before, value)
		}
		cells[name] = value
	}
	return cells
}

// data is what a page is told.
type data struct {
	Structure string
	Cells     map[string]string
}

func dataOf(t *testing.T, s http.Handler, path string) (d data) {
	t.Helper()
	if err := json.Unmarshal(get(t, s, path).Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// pages are all kinds of them.
func pages(t *testing.T) map[string]struct {
	server *Server
	query  string
} {
	source := &fakeSource{snapshot: twoRoutes()}
	hub := NewHub(source, nil)
	hub.take(t.Context())
	hub.take(t.Context())
	steers, shows := NewServer(hub, Options{Controls: true}), NewServer(hub, Options{})
	empty, broken := NewHub(&fakeSource{snapshot: new(Snapshot)}, nil), NewHub(&fakeSource{err: errCaddy}, nil)
	return map[string]struct {
		server *Server
		query  string
	}{
		"overview":               {steers, ""},
		"route":                  {steers, "?route=shop"},
		"route without controls": {shows, "?route=shop"},
		"unnamed route":          {steers, "?route=nas.example.com"},
		"no routes":              {NewServer(empty, Options{}), ""},
		"no snapshot":            {NewServer(broken, Options{}), "?route=shop"},
	}
}

func TestPagesAndDataHaveTheSameCells(t *testing.T) {
	for name, p := range pages(t) {
		page, data := open(t, p.server, "/x/"+p.query), dataOf(t, p.server, "/x/data"+p.query)
		shown := page.cells(t)
		for cell, value := range data.Cells {
			if got, ok := shown[cell]; !ok || got != value {
				t.Errorf("%s: cell %s is %q in the page (%t), and %q in data", name, cell, got, ok, value)
			}
		}
		for cell := range shown {
			if _, ok := data.Cells[cell]; !ok {
				t.Errorf("%s: cell %s of the page is not in data", name, cell)
			}
		}
		body := page.elements[slices.IndexFunc(page.elements, func(n *html.Node) bool { return n.Data == "body" })]
		if structure, _ := attribute(body, "data-structure"); structure != data.Structure || structure == "" {
			t.Errorf("%s: structure %q in the page, %q in data", name, structure, data.Structure)
		}
	}
}

func TestPagesNeedNothingFromElsewhereAndNothingInline(t *testing.T) {
	for name, p := range pages(t) {
		page := open(t, p.server, "/"+p.query)
		for _, n := range page.elements {
			if n.Data == "style" || n.Data == "script" && textOf(n) != "" || n.Data == "base" || n.Data == "iframe" {
				t.Errorf("%s: there is a <%s>", name, n.Data)
			}
			for _, a := range n.Attr {
				isLink := a.Key == "href" || a.Key == "src" || a.Key == "action" || a.Key == "formaction"
				switch {
				case strings.HasPrefix(a.Key, "on"), a.Key == "style":
					t.Errorf("%s: <%s %s>", name, n.Data, a.Key)
				case isLink && strings.HasPrefix(a.Val, "data:image/svg+xml,") && n.Data == "link":
				case isLink && (strings.Contains(a.Val, ":") || strings.HasPrefix(a.Val, "/")):
					t.Errorf("%s: <%s %s=%q> is not relative", name, n.Data, a.Key, a.Val)
				}
			}
		}
	}
}

func TestPagesAreSmall(t *testing.T) {
	const most = 60_000
	size := 0
	for _, name := range []string{"page.html", "style.css", "script.js"} {
		content, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		size += len(content)
	}
	if size > most {
		t.Errorf("the three files have %d bytes", size)
	}
	source := &fakeSource{snapshot: twoRoutes()}
	hub := NewHub(source, busyHistory(source.snapshot))
	hub.take(t.Context())
	s := NewServer(hub, Options{Controls: true})
	for _, query := range []string{"", "?route=shop"} {
		all := get(t, s, "/style.css").Body.Len() + get(t, s, "/script.js").Body.Len() + get(t, s, "/"+query).Body.Len()
		if t.Logf("/%s: %d bytes with style and script", query, all); all > most {
			t.Errorf("/%s: %d bytes with style and script", query, all)
		}
	}
}

func TestWithoutControlsThereIsNone(t *testing.T) {
	all := pages(t)
	for _, name := range []string{"overview", "route without controls", "unnamed route"} {
		p := all[name]
		for _, n := range open(t, p.server, "/"+p.query).elements {
			_, isAction := attribute(n, "data-action")
			_, isVersion := attribute(n, "data-version")
			if n.Data == "form" || n.Data == "input" || isAction || isVersion {
				t.Errorf("%s: there is a <%s>", name, n.Data)
			}
		}
	}
	why := NewServer(NewHub(&fakeSource{snapshot: twoRoutes()}, nil), Options{ReadOnlyWhy: "nobody has to log in"})
	for claim, is := range map[string]bool{
		"says why": strings.Contains(get(t, why, "/").Body.String(), "Read-only: nobody has to log in."),
		"says what a route without a name lacks": strings.Contains(get(t, all["unnamed route"].server, "/?route=nas.example.com").Body.String(),
			"This route cannot be steered: it has no name; <code>name</code> in its block makes it steerable."),
	} {
		if !is {
			t.Errorf("no page %s", claim)
		}
	}
}

func TestControlsHaveLabelsAndTablesHeaders(t *testing.T) {
	for name, p := range pages(t) {
		page := open(t, p.server, "/"+p.query)
		ids := make(map[string]int)
		for _, n := range page.elements {
			if id, ok := attribute(n, "id"); ok {
				ids[id]++
			}
		}
		for _, n := range page.elements {
			label, hasLabel := attribute(n, "aria-label")
			kind, _ := attribute(n, "type")
			switch {
			case n.Data == "input" && kind != "hidden" && !hasLabel, n.Data == "progress" && !hasLabel, n.Data == "button" && !hasLabel && strings.TrimSpace(textOf(n)) == "", hasLabel && label == "":
				t.Errorf("%s: a <%s> has no label", name, n.Data)
			}
			if scope, _ := attribute(n, "scope"); n.Data == "th" && scope != "col" && scope != "row" {
				t.Errorf("%s: a <th> has no scope", name)
			}
			if id, ok := attribute(n, "aria-labelledby"); ok && ids[id] != 1 {
				t.Errorf("%s: a <%s> is labelled by %q, which is there %d times", name, n.Data, id, ids[id])
			}
		}
		for id, n := range ids {
			if n != 1 {
				t.Errorf("%s: the id %s is there %d times", name, id, n)
			}
		}
	}
}

func TestAFailureIsShownAboveWhatWasKnown(t *testing.T) {
	source := &fakeSource{snapshot: twoRoutes()}
	hub := NewHub(source, nil)
	s := NewServer(hub, Options{})
	before := dataOf(t, s, "/data")
	source.set(func() { source.err = errCaddy })
	hub.take(t.Context())
	after := dataOf(t, s, "/data")
	if after.Structure != before.Structure || after.Cells["alarm"] != errCaddy.Error() || after.Cells["alarm.hidden"] != "" {
		t.Errorf("structure %s, before %s; alarm %q", after.Structure, before.Structure, after.Cells["alarm"])
	}
	source.set(func() { source.err = nil })
	hub.take(t.Context())
	if again := dataOf(t, s, "/data"); again.Cells["alarm"] != "" || again.Cells["alarm.hidden"] != "hidden" {
		t.Errorf("alarm %q", again.Cells["alarm"])
	}
}

func TestTheStructureChangesWithWhatThereIs(t *testing.T) {
	for change, edit := range map[string]func(*Snapshot){
		"a route is gone":         func(s *Snapshot) { s.Routes = s.Routes[:1] },
		"a route is renamed":      func(s *Snapshot) { s.Routes[1].Label = "other" },
		"a release is gone":       func(s *Snapshot) { s.Routes[0].Release = nil },
		"an upstream is gone":     func(s *Snapshot) { s.Routes[0].Groups[0].Upstreams = s.Routes[0].Groups[0].Upstreams[:1] },
		"an upstream is another":  func(s *Snapshot) { s.Routes[0].Groups[0].Upstreams[0].Dial = "x" },
		"staging is gone":         func(s *Snapshot) { s.Routes[0].Split, s.Routes[0].Groups = nil, s.Routes[0].Groups[:1] },
		"the steps were edited":   func(s *Snapshot) { s.Routes[0].Release.Steps = []float64{10, 100} },
		"a certificate was shown": func(s *Snapshot) { s.Routes[0].Groups[0].Upstreams[0].Certificate = new(Certificate) },
	} {
		structures := func(s *Snapshot) [2]string { return [2]string{viewed(s, "").Structure, viewed(s, "shop").Structure} }
		s := twoRoutes()
		before := structures(s)
		edit(s)
		if structures(s) == before {
			t.Errorf("%s: the structure is the same", change)
		}
	}
	quiet, loud := twoRoutes(), twoRoutes()
	loud.Routes[0].Split, loud.Routes[0].Groups[0].Requests, loud.Routes[0].Release.Phase = share(50), 1000, "paused"
	loud.Changes = append(loud.Changes, Change{What: "share"})
	if viewed(quiet, "shop").Structure != viewed(loud, "shop").Structure {
		t.Error("values are part of the structure")
	}
}

// tags lists the elements and the names of their attributes, without those that a cell adds.
func (d *document) tags() string {
	var b strings.Builder
	for _, n := range d.elements {
		b.WriteString("<" + n.Data)
		for _, a := range n.Attr {
			if a.Key != "hidden" {
				b.WriteString(" " + a.Key)
			}
		}
		b.WriteString(">")
	}
	return b.String()
}

// calmHub is one of a single route, with nothing that is hostile.
func calmHub(t *testing.T) *Hub {
	s := twoRoutes()
	r := &s.Routes[0]
	s.Routes = s.Routes[:1]
	for k := range r.Groups {
		for i := range r.Groups[k].Upstreams {
			r.Groups[k].Upstreams[i].Certificate = new(Certificate)
		}
	}
	hub := NewHub(&fakeSource{snapshot: s}, nil)
	hub.take(t.Context())
	return hub
}
