package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// A client may send no more of its body once it sees the status, until the answer has ended, or at all. Over HTTP/1,
// Caddy's server sends no answer before it has read the rest.
func TestAnAnswerEndsThoughItsClientSendsNoMore(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	upstreams := map[string]*backend{"plain": plain(t, "plain", ""), "tls": proxytest.SignedBy(t, ca, "TLS", ""), "h2": proxytest.SignedBy(t, ca, "h2", ""), "h2c": proxytest.H2C(t, "h2c", "")}
	var sites strings.Builder
	for name, b := range upstreams {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.ReadFull(r.Body, make([]byte, len("half")))
			if strings.HasSuffix(r.URL.Path, "/401") {
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = io.WriteString(w, "enough")
		})
		trusted := "https://" + b.Addr + " {\ntls_trust_pool file " + ca.File + "\n}"
		upstream := map[string]string{"plain": "http://" + b.Addr, "tls": trusted + "\ntransport http {\nversions 1.1\n}", "h2": trusted, "h2c": "h2c://" + b.Addr}[name]
		for option, directives := range map[string]string{
			"plainly":  "",
			"buffered": "response_buffers 1MB\n",
			"retried":  "lb_retries 1\nlb_retry_match {\nmethod POST\nexpression `{rp.status_code} == 401`\n}\n",
			"handled":  "@any status 2xx 4xx\nhandle_response @any {\ncopy_response\n}\n",
			"replaced": "@any status 2xx 4xx\nhandle_response @any {\nrespond enough {rp.status_code}\n}\n",
		} {
			for _, way := range []string{"on", "off"} {
				fmt.Fprintf(&sites, "handle /%s/%s/%s/* {\nproxyos {\nfast_path %s\n%supstream %s\n}\n}\n", name, option, way, way, directives, upstream)
			}
		}
	}
	s, addr := http3Server(t, sites.String())
	ctx, leave := context.WithTimeout(t.Context(), 30*time.Second)
	defer leave()
	tests := make(map[string]func(*testing.T))
	for i, client := range clients(t) {
		if i == 0 {
			continue
		}
		for upstream := range upstreams {
			for _, option := range []string{"plainly", "buffered", "retried", "handled", "replaced"} {
				for _, way := range []string{"on", "off"} {
					for _, status := range []string{"200", "401"} {
						path := fmt.Sprintf("/%s/%s/%s/%s", upstream, option, way, status)
						want := "enough"
						if option == "retried" && status == "401" {
							want = "" // as the second attempt's answer is taken for a failure, too
						}
						tests[fmt.Sprintf("HTTP %d%s", i+1, path)] = func(t *testing.T) {
							body := &halfway{strings.NewReader("half"), func() error {
								<-ctx.Done()
								return ctx.Err()
							}}
							req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+path, body)
							if err != nil {
								t.Fatal(err)
							}
							res, err := client.RoundTrip(req)
							if err != nil {
								t.Fatal(err)
							}
							// closing the answer would end the request, or wait for its body as the proxy must not
							if got, err := io.ReadAll(res.Body); fmt.Sprint(res.StatusCode) != status || string(got) != want || err != nil {
								t.Errorf("it gets %d with %q, %v", res.StatusCode, got, err)
							}
						}
					}
				}
			}
		}
	}
	proxytest.Together(t, tests)
	eventually(t, "nobody reads a body or closes an answer, though no client has left", func() bool {
		stacks := make([]byte, 16<<20)
		all := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(all, "(*clientBody)") && !strings.Contains(all, "(*attemptBody)") && !strings.Contains(all, "(*unhurried)")
	})
	if told := s.Logs.Entries("aborting with incomplete response"); len(told) > 0 {
		t.Errorf("logged is %v", told)
	}
}

// An upstream that breaks off before it answers has failed, though the client sends nothing meanwhile, and the next one
// gets what there is of the body.
func TestARequestIsRetriedThoughItsClientIsSilent(t *testing.T) {
	for _, way := range []string{"on", "off"} {
		for _, ends := range []string{"resets it", "dies"} {
			t.Run("fast_path "+way+", the upstream "+ends, func(t *testing.T) {
				first, second, isAsked := proxytest.H2C(t, "first", ""), proxytest.H2C(t, "second", ""), make(chan struct{})
				first.Answer(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadFull(r.Body, make([]byte, len("half")))
					if ends == "dies" {
						close(isAsked)
						<-r.Context().Done()
					}
					panic(http.ErrAbortHandler)
				})
				var dying sync.WaitGroup
				defer dying.Wait()
				over := make(chan struct{})
				defer close(over)
				if ends == "dies" {
					dying.Go(func() {
						select {
						case <-isAsked:
							first.Stop()
						case <-over:
						}
					})
				}
				second.Answer(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.CopyN(w, r.Body, int64(len("half")))
				})
				s, addr := http3Server(t, "proxyos h2c://"+first.Addr+" h2c://"+second.Addr+" {\nname app\nfast_path "+way+
					"\nlb_policy first\nlb_retries 2\nlb_retry_match method POST\n}")
				for i, client := range clients(t) {
					if i == 0 {
						continue
					}
					ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
					defer leave()
					body := &halfway{strings.NewReader("half"), func() error {
						<-ctx.Done()
						return ctx.Err()
					}}
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr, body)
					if err != nil {
						t.Fatal(err)
					}
					res, err := client.RoundTrip(req)
					if err != nil {
						t.Fatalf("over HTTP/%d: %v", i+1, err)
					}
					if got, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || string(got) != "half" || err != nil {
						t.Errorf("over HTTP/%d it gets %d with %q, %v", i+1, res.StatusCode, got, err)
					}
				}
				if failed := s.Route().Groups[0].Upstreams[0]; failed.Health != "down" || failed.Errors == 0 {
					t.Errorf("the first upstream is %s with %d errors", failed.Health, failed.Errors)
				}
			})
		}
	}
}
