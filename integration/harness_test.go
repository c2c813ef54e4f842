// Package integration tests proxyos in a whole Caddy, with real clients and real backends.
//
// run, runJSON and bothWays load a config into the Caddy of the test process itself, one at
// a time; startChild runs the caddy command, for tests that kill it or need several. The
// backends of proxytest count what reaches them.
package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/proxyos/caddy-proxyos"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if childBuild.dir != "" {
		os.RemoveAll(childBuild.dir)
	}
	os.Exit(code)
}

// What nearly every test needs, by short names.
type (
	backend  = proxytest.Backend
	logEntry = proxytest.LogEntry
)

var (
	plain      = proxytest.Plain
	h2c        = proxytest.H2C
	untrusted  = proxytest.Untrusted
	signedBy   = proxytest.SignedBy
	unixSocket = proxytest.UnixSocket
	freeAddr   = proxytest.FreeAddr
	eventually = proxytest.Eventually
)

// server is a Caddy under test.
type server struct {
	*proxytest.Caddy
	t testing.TB
}

// newServer returns the Caddy of this process, without a config: use it with Load where a
// test needs to know the addresses to write the config.
func newServer(t testing.TB) *server {
	t.Helper()
	return &server{proxytest.NewCaddy(t), t}
}

// run loads a site's directives, such as "proxyos 127.0.0.2:8006", and serves them at the
// server's url.
func run(t testing.TB, directives string) *server {
	t.Helper()
	s := newServer(t)
	s.MustLoad(s.Site(directives))
	return s
}

// runJSON loads one handler, such as {"handler": "proxyos", …}, and serves it at the
// server's url.
func runJSON(t testing.TB, handler string) *server {
	t.Helper()
	s := newServer(t)
	if err := s.LoadJSON(s.Routes(handler)); err != nil {
		t.Fatalf("loading %s: %v", handler, err)
	}
	return s
}

// bothWays runs a test twice: with a config written as directives of a Caddyfile, and with
// the same config written as the JSON of one handler. Both must adapt to the same JSON.
func bothWays(t *testing.T, directives, handler string, test func(*testing.T, *server)) {
	t.Helper()
	t.Run("Caddyfile", func(t *testing.T) {
		s := newServer(t)
		if got, want := handlerOf(t, adapt(t, s.Site(directives))), proxytest.Canonical(t, handler); got != want {
			t.Errorf("the Caddyfile adapts to\n%s\nthe JSON says\n%s", got, want)
		}
		s.MustLoad(s.Site(directives))
		test(t, s)
	})
	t.Run("JSON", func(t *testing.T) { test(t, runJSON(t, handler)) })
}

// adapt returns the JSON of a Caddyfile.
func adapt(t testing.TB, text string) string {
	t.Helper()
	config, err := proxytest.AdaptCaddyfile(text)
	if err != nil {
		t.Fatalf("adapting\n%s\n%v", text, err)
	}
	return string(config)
}

// handlerOf returns the first proxyos handler of a config, in canonical form.
func handlerOf(t testing.TB, config string) string {
	t.Helper()
	var c any
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		t.Fatal(err)
	}
	var find func(any) any
	find = func(value any) any {
		switch value := value.(type) {
		case map[string]any:
			if value["handler"] == "proxyos" {
				return value
			}
			for _, inner := range value {
				if found := find(inner); found != nil {
					return found
				}
			}
		case []any:
			for _, inner := range value {
				if found := find(inner); found != nil {
					return found
				}
			}
		}
		return nil
	}
	encoded, err := json.Marshal(find(c))
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// tally requests / n times, one after the other, and counts the answers by body; any
// answer but 200 counts as its status.
func (s *server) tally(n int) map[string]int {
	s.t.Helper()
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
