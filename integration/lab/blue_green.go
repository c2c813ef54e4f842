package lab

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// BlueGreen runs a route named app with one production and one staging backend, whose names
// are those of their groups, and any further subdirectives.
func BlueGreen(t testing.TB, subdirectives ...string) (s *Server, prod, stag *proxytest.Backend) {
	t.Helper()
	prod, stag = proxytest.Plain(t, "production", ""), proxytest.Plain(t, "staging", "")
	s = NewServer(t)
	s.MustLoad(s.BlueGreen(prod, stag, subdirectives...))
	return s, prod, stag
}

// BlueGreen returns the Caddyfile of such a route.
func (s *Server) BlueGreen(prod, stag *proxytest.Backend, subdirectives ...string) string {
	return Quiet + s.Site(BlueGreenDirective(prod.Addr, stag.Addr, subdirectives...))
}

// BlueGreenDirective returns the directive of such a route, for two addresses.
func BlueGreenDirective(prod, stag string, subdirectives ...string) string {
	return fmt.Sprintf("proxyos %s {\n\tname app\n\tstaging %s\n\t%s\n}", prod, stag, strings.Join(subdirectives, "\n\t"))
}

// Quiet is global options for tests under load, whose debug log would fill the memory.
const Quiet = "{\n\tlog {\n\t\tlevel INFO\n\t}\n\tproxyos {\n\t\tsync_interval 500ms\n\t}\n}\n"

// Reload loads a config in place of another and waits until new connections are the new
// one's. As it begins to shut down, Go's HTTP server closes those that it has accepted and
// not read from.
func (s *Server) Reload(config string) {
	s.T.Helper()
	s.MustLoad(config)
	s.Client.CloseIdleConnections()
	answered := 0
	proxytest.Eventually(s.T, "new connections are answered", func() bool {
		if answered++; !s.answers() {
			answered = 0
		}
		return answered == 5
	})
}

// answers tells whether a request on a new connection is answered. It is for a host that no
// route has, so that none counts it.
func (s *Server) answers() bool {
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: nobody.invalid\r\n\r\n"); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return err == nil
}
