package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// An upstream answers before the body has come, and another handler reads what comes while the
// attempt still does: both meet the end of it, which sets the fields of the trailer. A map that
// both change ends the whole process; the race detector does not see it, since both hear of the
// end from the same connection.
func TestTheEndOfABodyIsForOneReaderOnly(t *testing.T) {
	early := proxytest.NewRawServer(t, func(conn net.Conn) {
		defer conn.Close()
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, conn)
	})
	second := plain(t, "second", "")
	second.Answer(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	var names strings.Builder
	for i := range 1700 {
		fmt.Fprintf(&names, "If-%d,", i)
	}
	s := newServer(t)
	var sites strings.Builder
	tests := make(map[string]func(*testing.T))
	for _, inner := range []string{"proxyos", "reverse_proxy"} {
		fmt.Fprintf(&sites, "handle /%s {\nproxyos %s {\n@bad status 500\nhandle_response @bad {\n%s %s\n}\n}\n}\n", inner, early.Addr, inner, second.Addr)
		tests[inner] = func(t *testing.T) {
			for range lab.Sized(10, 20, 20) {
				conn, err := net.Dial("tcp", s.Addr)
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				_, _ = io.WriteString(conn, "POST /"+inner+" HTTP/1.1\r\nHost: "+s.Addr+"\r\nTransfer-Encoding: chunked\r\nTrailer: "+names.String()+"X-One\r\n\r\n3\r\nabc\r\n")
				time.Sleep(100 * time.Millisecond) // until both read
				_, _ = io.WriteString(conn, "0\r\nX-One: 1\r\n\r\n")
				_, _ = bufio.NewReader(conn).ReadString('\n')
				_ = conn.Close()
			}
		}
	}
	s.MustLoad(s.Site(sites.String()))
	proxytest.Together(t, tests)
	if res := s.Do(s.Request("GET", "/proxyos", nil)); res.StatusCode == 0 {
		t.Error("nothing answers afterwards")
	}
}
