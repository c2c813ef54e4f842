package faults

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// An answer is waited for where a request cannot be sent to its end, but not from an upstream that has gone.
func TestARequestIsOverOnceItsUpstreamHasGone(t *testing.T) {
	const atOnce = 3 * time.Second // an answer is waited for longer
	ca := proxytest.NewAuthority(t)
	for name, script := range map[string]proxytest.Script{
		"closes":                     func(x *proxytest.Exchange) { x.Close() },
		"resets":                     func(x *proxytest.Exchange) { x.Reset() },
		"closes in the body":         func(x *proxytest.Exchange) { _, _ = io.ReadFull(x.Body, make([]byte, 64<<10)); x.Close() },
		"resets in the body":         func(x *proxytest.Exchange) { _, _ = io.ReadFull(x.Body, make([]byte, 64<<10)); x.Reset() },
		"closes in the answer":       func(x *proxytest.Exchange) { x.Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"); x.Close() },
		"resets in the answer":       func(x *proxytest.Exchange) { x.Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"); x.Reset() },
		"answers wrongly and closes": func(x *proxytest.Exchange) { x.Send("nonsense\r\n\r\n"); x.Close() },
		"answers wrongly and resets": func(x *proxytest.Exchange) { x.Send("nonsense\r\n\r\n"); x.Reset() },
	} {
		for kind, upstream := range map[string]string{
			"plain": "http://" + proxytest.NewScripted(t, script).Addr,
			"TLS":   "https://" + proxytest.NewScriptedTLS(t, proxytest.Serving(ca.Issue(t, "127.0.0.1")), script).Addr + " {\ntls_trust_pool file " + ca.File + "\n}",
		} {
			for _, way := range []string{"on", "off"} {
				t.Run(fmt.Sprintf("%s/%s/fast_path %s", name, kind, way), func(t *testing.T) {
					s := run(t, "proxyos {\nfast_path "+way+"\nfail_duration 0\nupstream "+upstream+"\n}")
					for range lab.Sized(2, 10, 2) {
						for _, size := range []int{0, 10, 1 << 20} {
							began := time.Now()
							res, err := s.Client.Post(s.URL, "text/plain", strings.NewReader(strings.Repeat("x", size)))
							switch {
							case err != nil && size < 1<<20 && !strings.HasSuffix(name, "in the answer"): // a client that is still sending may miss it
								t.Errorf("a request of %d bytes: %v", size, err)
							case err == nil:
								_, _ = io.Copy(io.Discard, res.Body)
								res.Body.Close()
								if res.StatusCode != http.StatusBadGateway && !strings.HasSuffix(name, "in the answer") {
									t.Errorf("a request of %d bytes gets %d", size, res.StatusCode)
								}
							}
							if took := time.Since(began); took > atOnce {
								t.Errorf("a request of %d bytes takes %s", size, took)
							}
						}
					}
				})
			}
		}
	}
}
