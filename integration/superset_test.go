package integration

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// bothForms runs a test with directives as a Caddyfile, and with the JSON that their first
// proxyos handler adapts to, with the fast path on and off.
func bothForms(t *testing.T, directives string, test func(*testing.T, *server)) {
	t.Helper()
	t.Run("Caddyfile", func(t *testing.T) { test(t, run(t, directives)) })
	t.Run("JSON", func(t *testing.T) {
		s := newServer(t)
		handler := handlerOf(t, adapt(t, s.Site(directives)))
		if err := s.LoadJSON(s.Routes(handler)); err != nil {
			t.Fatalf("loading %s: %v", handler, err)
		}
		test(t, s)
	})
	t.Run("JSON, fast_path off", func(t *testing.T) {
		s := newServer(t)
		handler := slowed(handlerOf(t, adapt(t, s.Site(directives))))
		if err := s.LoadJSON(s.Routes(handler)); err != nil {
			t.Fatalf("loading %s: %v", handler, err)
		}
		test(t, s)
	})
}

// slowed turns the fast path of every proxyos handler in some JSON off.
func slowed(config string) string {
	return strings.ReplaceAll(config, `"handler":"proxyos"`, `"fast_path":false,"handler":"proxyos"`)
}

// runQuietly is run without debug logs, for tests with very many requests.
func runQuietly(t testing.TB, directives string) *server {
	t.Helper()
	s := newServer(t)
	s.MustLoad("{\nlog {\nlevel ERROR\n}\n}\n" + s.Site(directives))
	return s
}

// refuses loads directives, wants that refused, and wants the error to say something.
func refuses(t *testing.T, directives string, saying ...string) {
	t.Helper()
	t.Run("refused", func(t *testing.T) {
		s := newServer(t)
		err := s.Load(s.Site(directives))
		if err == nil {
			t.Fatalf("%s\nis not refused", directives)
		}
		for _, part := range saying {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error %q does not say %q", err, part)
			}
		}
	})
}

// answer is what a client got.
type answer struct {
	*http.Response
	body string
}

// do sends a request and reads the answer.
func (s *server) do(req *http.Request) answer {
	s.t.Helper()
	res, err := s.Client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return answer{res, string(body)}
}

// request returns a request to the server, with header fields given as name, value, ….
func (s *server) request(method, path string, body io.Reader, fields ...string) *http.Request {
	s.t.Helper()
	req, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			req.Host = fields[i+1]
			continue
		}
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

// crowd sends requests from several clients at once and returns how many were not
// answered with 200.
func (s *server) crowd(clients, requests int, newRequest func() *http.Request) (failed int) {
	s.t.Helper()
	var left, bad atomic.Int64
	left.Store(int64(requests))
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				res, err := s.Client.Do(newRequest())
				if err != nil {
					bad.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
					bad.Add(1)
				}
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	return int(bad.Load())
}

// newCutter starts a server that closes each connection once it has a request's header.
func newCutter(t testing.TB) *proxytest.Scripted {
	t.Helper()
	return proxytest.NewScripted(t, (*proxytest.Exchange).Close)
}
