package diagnose

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestPeekLeavesTheBodyAsItWas(t *testing.T) {
	failure := errors.New("connection lost")
	long := strings.Repeat("x", 3*refusalSize)
	for _, c := range []struct {
		name   string
		res    http.Response
		body   io.Reader
		peeked bool
		want   string
		err    error
	}{
		{"of known length", http.Response{ContentLength: 5}, strings.NewReader("hello"), true, "hello", nil},
		{"longer than what is looked at", http.Response{ContentLength: int64(len(long))}, strings.NewReader(long), true, long, nil},
		{"too long", http.Response{ContentLength: 1 << 20}, strings.NewReader(long), false, long, nil},
		{"of unknown length until the connection closes", http.Response{ContentLength: -1, Close: true}, strings.NewReader("hello"), true, "hello", nil},
		{"of unknown length, a stream perhaps", http.Response{ContentLength: -1}, strings.NewReader("hello"), false, "hello", nil},
		{"empty", http.Response{ContentLength: 0}, strings.NewReader(""), false, "", nil},
		{"compressed", http.Response{ContentLength: 5, Header: http.Header{"Content-Encoding": {"gzip"}}}, strings.NewReader("hello"), false, "hello", nil},
		{"breaking off", http.Response{ContentLength: 9}, io.MultiReader(strings.NewReader("hello"), &rest{err: failure}), true, "hello", failure},
		{"broken from the start", http.Response{ContentLength: 9}, &rest{err: failure}, false, "", failure},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := false
			c.res.Body = &peekedBody{c.body, closerFunc(func() error { closed = true; return nil })}
			if beginning := Peek(&c.res); (beginning != "") != c.peeked || !strings.HasPrefix(c.want, beginning) {
				t.Errorf("peeked at %q", beginning)
			}
			got, err := io.ReadAll(c.res.Body)
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("read %d bytes and %v, want %d and %v", len(got), err, len(c.want), c.err)
			}
			if _ = c.res.Body.Close(); !closed {
				t.Error("the body is not closed")
			}
		})
	}
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }
