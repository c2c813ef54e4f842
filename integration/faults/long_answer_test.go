package faults

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// slowBody is a body that is sent bit by bit, for a while.
type slowBody struct{ left int }

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(10 * time.Millisecond)
	n := min(len(p), b.left, 5000)
	b.left -= n
	return n, nil
}

// Where an answer begins while the request is being sent, Caddy's HTTP/1 server reads the rest of it, and the answer
// goes on for long after that, whoever has wrapped the body.
func TestAnAnswerGoesOnAfterTheRestOfItsRequestWasRead(t *testing.T) {
	const size, piece, pieces = 50_000, 1000, 8
	ca := proxytest.NewAuthority(t)
	overTLS, overHTTP2 := proxytest.SignedBy(t, ca, "TLS", ""), proxytest.SignedBy(t, ca, "h2", "")
	upstreams := map[string]*backend{"plain": plain(t, "plain", ""), "tls": overTLS, "h2": overHTTP2}
	var sites strings.Builder
	for name, b := range upstreams {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex()
			w.WriteHeader(http.StatusUnauthorized)
			_ = rc.Flush()
			go func() { _, _ = io.Copy(io.Discard, r.Body) }() // of which it does not need the end
			for range pieces {
				_, _ = io.WriteString(w, strings.Repeat("a", piece))
				_ = rc.Flush()
				time.Sleep(50 * time.Millisecond) // so that the answer takes longer than the request
			}
		})
		trusted := "https://" + b.Addr + " {\ntls_trust_pool file " + ca.File + "\n}"
		upstream := map[string]string{"plain": "http://" + b.Addr, "tls": trusted + "\ntransport http {\nversions 1.1\n}", "h2": trusted}[name]
		for _, way := range []string{"on", "off"} {
			fmt.Fprintf(&sites, "handle /%s/%s {\nproxyos {\nfast_path %s\nupstream %s\n}\n}\n", name, way, way, upstream)
		}
	}
	for name, site := range map[string]string{
		"alone":              "APP",
		"with an access log": "log\nAPP",
		"with a limit":       "request_body {\nmax_size 1MB\n}\nAPP",
		"after an error":     "proxyos " + proxytest.Refused(t) + "\nhandle_errors {\nAPP}",
	} {
		t.Run(name, func(t *testing.T) {
			s, addr := http3Server(t, strings.ReplaceAll(site, "APP", sites.String()))
			tests := make(map[string]func(*testing.T))
			for i, client := range clients(t) {
				for upstream := range upstreams {
					for _, way := range []string{"on", "off"} {
						for _, length := range []int64{size, -1} {
							tests[fmt.Sprintf("HTTP %d, %s, fast_path %s, length %d", i+1, upstream, way, length)] = func(t *testing.T) {
								req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+addr+"/"+upstream+"/"+way, &slowBody{size})
								if err != nil {
									t.Fatal(err)
								}
								req.ContentLength = length
								res, err := client.RoundTrip(req)
								if err != nil {
									t.Fatal(err)
								}
								defer res.Body.Close()
								if got, err := io.ReadAll(res.Body); res.StatusCode != http.StatusUnauthorized || len(got) != piece*pieces || err != nil {
									t.Errorf("it gets %d with %d of %d bytes, %v", res.StatusCode, len(got), piece*pieces, err)
								}
							}
						}
					}
				}
			}
			proxytest.Together(t, tests)
			if told := s.Logs.Entries("aborting with incomplete response"); len(told) > 0 {
				t.Errorf("logged is %v", told)
			}
		})
	}
}
