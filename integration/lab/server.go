package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Server is a Caddy under test.
type Server struct {
	*proxytest.Caddy
	T testing.TB // which it is for
}

// NewServer returns the Caddy of this process, without a config: use it with Load where a
// test needs to know the addresses to write the config.
func NewServer(t testing.TB) *Server {
	t.Helper()
	return &Server{proxytest.NewCaddy(t), t}
}

// Run loads a site's directives, such as "proxyos 127.0.0.2:8006", and serves them at the
// server's URL.
func Run(t testing.TB, directives string) *Server {
	t.Helper()
	s := NewServer(t)
	s.MustLoad(s.Site(directives))
	return s
}

// RunJSON loads one handler, such as {"handler": "proxyos", …}, and serves it at the
// server's URL.
func RunJSON(t testing.TB, handler string) *Server {
	t.Helper()
	s := NewServer(t)
	if err := s.LoadJSON(s.Routes(handler)); err != nil {
		t.Fatalf("loading %s: %v", handler, err)
	}
	return s
}

// RunQuietly is Run without debug logs, for tests with very many requests.
func RunQuietly(t testing.TB, directives string) *Server {
	t.Helper()
	s := NewServer(t)
	s.MustLoad("{\nlog {\nlevel ERROR\n}\n}\n" + s.Site(directives))
	return s
}

// Validate provisions a whole config and gives it up again.
func (s *Server) Validate(config string) error {
	prepared, err := s.Prepare(config)
	if err != nil {
		return err
	}
	var c caddy.Config
	if err := json.Unmarshal(prepared, &c); err != nil {
		return err
	}
	return caddy.Validate(&c)
}

// Tally requests / n times, one after the other, and counts the answers by body; any
// answer but 200 counts as its status.
func (s *Server) Tally(n int) map[string]int {
	s.T.Helper()
	counts := make(map[string]int)
	for range n {
		status, body := s.Get("/")
		if status != http.StatusOK {
			body = fmt.Sprint(status)
		}
		counts[body]++
	}
	return counts
}
