package proxyos

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// An upstream's informational answers come from another goroutine than the one that judges
// the attempt. The race detector finds a field that both use.
func TestInformationalAnswersWhileTheJourneyEnds(t *testing.T) {
	j := new(journey)
	j.answer.ResponseWriter, j.answer.cookie = httptest.NewRecorder(), "a=b"
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.answer.WriteHeader(http.StatusContinue)
	}()
	_ = j.stop(http.StatusBadGateway, errors.New("some failure"))
	<-done
	if j.answer.status != 0 || j.answer.cookie == "" {
		t.Errorf("100 was taken for the answer: status %d, cookie %q", j.answer.status, j.answer.cookie)
	}
	j.answer.WriteHeader(statusClientGone)
	if j.answer.status != 0 {
		t.Errorf("%d was passed on", j.answer.status)
	}
}

// headerKeeper keeps the very header that a server would write at its leisure, or the copy that
// net/http's HTTP/2 server takes of one with a Content-Length.
type headerKeeper struct {
	header, kept http.Header
}

func (k *headerKeeper) Header() http.Header         { return k.header }
func (k *headerKeeper) Write(p []byte) (int, error) { return len(p), nil }

func (k *headerKeeper) WriteHeader(int) {
	k.kept = k.header
	if _, isThere := k.header["Content-Length"]; isThere {
		k.kept = k.header.Clone()
	}
}

func TestTheHeaderOfAnInformationalAnswerMayBeChangedAtOnce(t *testing.T) {
	for _, header := range []http.Header{
		{"Link": {"a"}},
		{"Link": {"a"}, "Content-Length": {"5"}},
	} {
		before := header.Clone()
		keeper := &headerKeeper{header: header}
		a := &answerWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: keeper}}
		a.WriteHeader(http.StatusEarlyHints)
		if !reflect.DeepEqual(header, before) {
			t.Errorf("the header is %v afterwards, and was %v", header, before)
		}
		clear(header)
		if got := keeper.kept.Get("Link"); got != "a" {
			t.Errorf("the server has %v of %v, since the header was changed", keeper.kept, before)
		}
	}
}

// A shared cache that keeps an answer with a cookie hands one client's place to all others.
func TestAnAnswerWithACookieIsKeptOutOfSharedCaches(t *testing.T) {
	for written, want := range map[string]string{
		"":                        "private",
		"max-age=60":              "max-age=60, private",
		"public, max-age=60":      "public, max-age=60, private",
		"s-maxage=5":              "s-maxage=5, private",
		"no-cache":                "no-cache, private",
		"no-store":                "no-store",
		"No-Store, max-age=0":     "No-Store, max-age=0",
		"max-age=60,private":      "max-age=60,private",
		"private":                 "private",
		`private="set-cookie"`:    `private="set-cookie", private`,
		"x-private, y=no-storage": "x-private, y=no-storage, private",
	} {
		for _, cookie := range []string{"a=b", ""} {
			for _, cacheable := range []bool{false, true} {
				recorder := httptest.NewRecorder()
				if written != "" {
					recorder.Header().Set("Cache-Control", written)
				}
				var a answerWriter
				a.ResponseWriter, a.cookie, a.cacheable = recorder, cookie, cacheable
				a.WriteHeader(http.StatusOK)
				expected := want
				if cookie == "" || cacheable {
					expected = written
				}
				if got := recorder.Header().Get("Cache-Control"); got != expected {
					t.Errorf("%q with the cookie %q, cacheable %v: %q, want %q", written, cookie, cacheable, got, expected)
				}
			}
		}
	}
}
