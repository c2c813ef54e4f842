package faults

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// brokenOffWait is the proxy's.
const brokenOffWait = 50 * time.Millisecond

// framedStream is a request to an upstream that speaks HTTP/2 frame by frame.
type framedStream struct {
	number int // of those to the upstream
	id     uint32
	mu     *sync.Mutex // held while anything is written to the connection
	framer *http2.Framer
	conn   net.Conn
	data   chan int // the sizes of the parts of its body
}

// send sends frames.
func (s *framedStream) send(write func(*http2.Framer) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = write(s.framer)
}

// sendStatus sends a header that has a status only.
func (s *framedStream) sendStatus(status string) {
	var block bytes.Buffer
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	s.send(func(f *http2.Framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: block.Bytes(), EndHeaders: true})
	})
}

// sendEnd sends the end of an answer.
func (s *framedStream) sendEnd(text string) {
	s.send(func(f *http2.Framer) error { return f.WriteData(s.id, true, []byte(text)) })
}

func (s *framedStream) reset(code http2.ErrCode) {
	s.send(func(f *http2.Framer) error { return f.WriteRSTStream(s.id, code) })
}

// framed returns the address of an upstream that has each request answered frame by frame.
func framed(t *testing.T, answer func(*framedStream)) string {
	t.Helper()
	listener := proxytest.Listen(t, freeAddr(t))
	var number atomic.Int64
	serve := func(conn net.Conn) {
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		var mu sync.Mutex
		framer, streams := http2.NewFramer(conn, conn), make(map[uint32]*framedStream)
		locked := func(write func() error) {
			mu.Lock()
			defer mu.Unlock()
			_ = write()
		}
		locked(func() error { return framer.WriteSettings() })
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch f := frame.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					locked(framer.WriteSettingsAck)
				}
			case *http2.PingFrame:
				if !f.IsAck() {
					locked(func() error { return framer.WritePing(true, f.Data) })
				}
			case *http2.HeadersFrame:
				s := &framedStream{number: int(number.Add(1)), id: f.StreamID, mu: &mu, framer: framer, conn: conn, data: make(chan int, 1000)}
				streams[f.StreamID] = s
				go answer(s)
			case *http2.DataFrame:
				if s := streams[f.StreamID]; s != nil {
					s.data <- len(f.Data())
				}
			}
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

// sendSlowly sends "half" as a body, and goes on in some way. It returns what it gets.
func sendSlowly(t *testing.T, client http.RoundTripper, method, addr string, goOn func(context.Context) error) string {
	t.Helper()
	ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
	defer leave()
	body := &halfway{strings.NewReader("half"), func() error { return goOn(ctx) }}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+addr, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, got)
}

func isSilent(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// An upstream that takes a request on no more, as when it is restarted, gets it again at once over HTTP/2, which is
// neither its fault nor a retry, whatever the client does meanwhile.
func TestARefusedRequestIsSentAgainWhateverItsClientDoes(t *testing.T) {
	var sites strings.Builder
	type request struct {
		method string
		goOn   func(context.Context) error
	}
	requests := make(map[string]request) // by the name of the route that each has for itself
	for name, refuse := range map[string]func(*framedStream){
		"refused": func(s *framedStream) { s.reset(http2.ErrCodeRefusedStream) },
		"goaway": func(s *framedStream) {
			s.send(func(f *http2.Framer) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) })
		},
	} {
		for method, directives := range map[string]string{"GET": "", "POST": "lb_retry_match method POST\n"} {
			for client, goOn := range map[string]func(context.Context) error{
				"ends-at-once": func(context.Context) error { return io.EOF },
				"ends-soon":    func(context.Context) error { time.Sleep(brokenOffWait / 2); return io.EOF },
				"ends-late":    func(context.Context) error { time.Sleep(2 * brokenOffWait); return io.EOF },
				"is-silent":    isSilent,
			} {
				addr := framed(t, func(s *framedStream) {
					<-s.data
					if s.number%2 == 1 {
						refuse(s)
						return
					}
					time.Sleep(4 * brokenOffWait)
					s.sendStatus("200")
					s.sendEnd("ok")
				})
				route := name + "-" + method + "-" + client
				fmt.Fprintf(&sites, "handle /%s {\nproxyos h2c://%s {\nname %s\n%s}\n}\n", route, addr, route, directives)
				requests[route] = request{method, goOn}
			}
		}
	}
	s, site := http3Server(t, sites.String())
	tests := make(map[string]func(*testing.T))
	clients := clients(t)
	for route, request := range requests {
		tests[route] = func(t *testing.T) {
			for i, c := range clients[1:] {
				if got := sendSlowly(t, c, request.method, site+"/"+route, request.goOn); got != "200 ok" {
					t.Errorf("over HTTP/%d it gets %s", i+2, got)
				}
			}
			if u := s.Named(route).Groups[0].Upstreams[0]; u.Health != "up" || u.Errors != 0 {
				t.Errorf("the upstream is %s with %d errors", u.Health, u.Errors)
			}
		}
	}
	proxytest.Together(t, tests)
}

// An informational answer is none.
func TestAnUpstreamBreaksOffAfterAnInformationalAnswer(t *testing.T) {
	clients := clients(t)
	for _, interim := range []string{"", "100", "103", "103 and it dies"} {
		t.Run(interim, func(t *testing.T) {
			bad := framed(t, func(s *framedStream) {
				<-s.data
				status, _, dies := strings.Cut(interim, " ")
				if status != "" {
					s.sendStatus(status)
				}
				if dies {
					s.conn.Close()
					return
				}
				s.reset(http2.ErrCodeInternal)
			})
			good := framed(t, func(s *framedStream) {
				<-s.data
				s.sendStatus("200")
				s.sendEnd("ok")
			})
			const app = "proxyos UPSTREAMS {\nlb_policy first\nlb_retries 2\nlb_retry_match method POST\nfail_duration 0\n}"
			_, site := http3Server(t, "handle /alone {\n"+strings.ReplaceAll(app, "UPSTREAMS", "h2c://"+bad)+"\n}\nhandle {\n"+
				strings.ReplaceAll(app, "UPSTREAMS", "h2c://"+bad+" h2c://"+good)+"\n}")
			for path, want := range map[string]string{"/alone": "502 ", "/": "200 ok"} {
				for i, c := range clients[1:] {
					if got := sendSlowly(t, c, http.MethodPost, site+path, isSilent); got != want {
						t.Errorf("%s over HTTP/%d it gets %s", path, i+2, got)
					}
				}
			}
		})
	}
}

// Whoever answers instead may read what is left of the body, while the attempt that is over still waits for some of it.
func TestAnErrorPageReadsWhatIsLeftOfABody(t *testing.T) {
	bad := framed(t, func(s *framedStream) {
		<-s.data
		s.reset(http2.ErrCodeInternal)
	})
	page := plain(t, "page", "")
	page.Answer(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%t %v", strings.HasSuffix(string(got), "the end"), err)
	})
	for _, handler := range []string{"reverse_proxy PAGE", "proxyos PAGE", "proxyos PAGE {\nrequest_buffers 1MB\n}"} {
		t.Run(strings.ReplaceAll(handler, "\n", " "), func(t *testing.T) {
			_, site := http3Server(t, "proxyos h2c://"+bad+"\nhandle_errors {\n"+strings.ReplaceAll(handler, "PAGE", page.Addr)+"\n}")
			tests := make(map[string]func(*testing.T))
			for i, c := range clients(t) {
				for n := range 5 {
					tests[fmt.Sprintf("HTTP %d, %d", i+1, n)] = func(t *testing.T) {
						left := 5
						body := &halfway{strings.NewReader("half"), nil}
						body.goOn = func() error {
							time.Sleep(2 * brokenOffWait)
							switch left--; left {
							case 0:
								return io.EOF
							case 1:
								body.half = strings.NewReader("the end")
							default:
								body.half = strings.NewReader("more")
							}
							return nil
						}
						req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+site, body)
						if err != nil {
							t.Fatal(err)
						}
						res, err := c.RoundTrip(req)
						if err != nil {
							t.Fatal(err)
						}
						defer res.Body.Close()
						if got, err := io.ReadAll(res.Body); string(got) != "true <nil>" || err != nil {
							t.Errorf("it gets %d with %q, %v", res.StatusCode, got, err)
						}
					}
				}
			}
			proxytest.Together(t, tests)
		})
	}
}

// A body that was buffered is closed, also where there was nothing of it.
func TestAnErrorPageAnswersARequestThatWasBuffered(t *testing.T) {
	page, bad := plain(t, "page", ""), plain(t, "bad", "")
	bad.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	for _, handler := range []string{"reverse_proxy PAGE", "proxyos PAGE", "proxyos PAGE {\nrequest_buffers 1MB\n}"} {
		for _, log := range []string{"", "log\n"} {
			t.Run(strings.ReplaceAll(log+handler, "\n", " "), func(t *testing.T) {
				answer := strings.ReplaceAll(handler, "PAGE", page.Addr)
				_, site := http3Server(t, log+"handle_errors {\n"+answer+"\n}\n"+
					"handle /fails {\nproxyos "+proxytest.Refused(t)+" {\nrequest_buffers 1MB\n}\n}\n"+
					"handle {\nproxyos "+bad.Addr+" {\nrequest_buffers 1MB\n@bad status 500\nhandle_response @bad {\n"+answer+"\n}\n}\n}")
				for i, c := range clients(t) {
					for _, path := range []string{"/fails", "/is-bad"} {
						req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+site+path, nil)
						if err != nil {
							t.Fatal(err)
						}
						res, err := c.RoundTrip(req)
						if err != nil {
							t.Fatal(err)
						}
						if res.Body.Close(); res.StatusCode != http.StatusOK {
							t.Errorf("over HTTP/%d %s gets %d", i+1, path, res.StatusCode)
						}
					}
				}
			})
		}
	}
}
