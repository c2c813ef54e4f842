package steering

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// The answer that gives a client its place is for that client only, unless the operator says
// otherwise. The next one, which sets no cookie, is as the upstream has it.
func TestOnlyTheAnswerThatSetsTheCookieIsPrivate(t *testing.T) {
	s, prod, stag := blueGreen(t)
	for _, b := range []*backend{prod, stag} {
		b.Answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=60")
			io.WriteString(w, "page")
		})
	}
	for sticky, want := range map[string]string{
		"sticky cookie": "public, max-age=60, private", "sticky cookie place cacheable": "public, max-age=60", "sticky key {http.request.header.X}": "public, max-age=60",
	} {
		s.Reload(s.BlueGreen(prod, stag, "traffic_split 50", sticky))
		res, err := s.Client.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := strings.Join(res.Header["Cache-Control"], " | "); got != want || (len(res.Cookies()) == 1) != strings.Contains(sticky, "cookie") {
			t.Errorf("%s: Cache-Control %q, want %q; cookies %v", sticky, got, want, res.Cookies())
		}
		if len(res.Cookies()) == 0 {
			continue
		}
		again, err := http.NewRequest(http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		again.AddCookie(res.Cookies()[0])
		if res, err = s.Client.Do(again); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("Cache-Control"); got != "public, max-age=60" {
			t.Errorf("%s: the second answer has Cache-Control %q", sticky, got)
		}
	}
}
