package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// allUp checks that no upstream is marked down and none has an error.
func allUp(t *testing.T, s *server) {
	t.Helper()
	for _, g := range s.Route().Groups {
		for _, u := range g.Upstreams {
			if u.Health != "up" || u.Errors != 0 {
				t.Errorf("%s is %s with %d errors", u.Dial, u.Health, u.Errors)
			}
		}
	}
}

func TestAnAnswerBeforeTheWholeRequestReachesTheClient(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	for _, status := range []int{http.StatusUnauthorized, http.StatusRequestEntityTooLarge} {
		// it has read a part of the body when it answers and closes, so that writing the rest fails
		early := func(x *proxytest.Exchange) {
			_, _ = io.ReadFull(x.Body, make([]byte, 64<<10))
			x.Send(fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly", status, http.StatusText(status)))
			x.Close()
		}
		plain, other := proxytest.NewScripted(t, early), proxytest.NewScripted(t, early)
		secure := proxytest.NewScriptedTLS(t, proxytest.Serving(ca.Issue(t, "127.0.0.1")), early)
		for kind, upstreams := range map[string]string{
			"plain": "to " + plain.Addr + " " + other.Addr,
			"TLS":   "upstream https://" + secure.Addr + " {\ntls_trust_pool file " + ca.File + "\n}\nto " + other.Addr,
		} {
			t.Run(fmt.Sprintf("%d/%s", status, kind), func(t *testing.T) {
				bothForms(t, "proxyos {\nname app\n"+upstreams+"\n}", func(t *testing.T, s *server) {
					for range 10 {
						res, err := s.Client.Post(s.URL, "application/octet-stream", strings.NewReader(strings.Repeat("x", 8<<20)))
						if err != nil {
							t.Fatal(err)
						}
						body, err := io.ReadAll(res.Body)
						res.Body.Close()
						if res.StatusCode != status || string(body) != "early" || err != nil {
							t.Errorf("the client gets %d %q, %v", res.StatusCode, body, err)
						}
					}
					allUp(t, s)
				})
			})
		}
	}
}

// Once the answer is on its way to a client over HTTP/1.1, Caddy's server reads what is left of the body
// itself, and closes it. That ends the sending, and not the answer.
func TestALongAnswerBeforeTheWholeRequestReachesTheClientWhole(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	answer := strings.Repeat("answer", 30_000)
	early := func(x *proxytest.Exchange) {
		x.Send(fmt.Sprintf("HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer))
		_, _ = io.Copy(io.Discard, x.Body)
	}
	overHTTP2, cleartext := proxytest.SignedBy(t, ca, "h2", ""), proxytest.H2C(t, "h2c", "")
	for _, b := range []*backend{overHTTP2, cleartext} {
		b.Answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, answer)
		})
	}
	trusted := " {\ntls_trust_pool file " + ca.File + "\n}"
	for kind, upstream := range map[string]string{
		"plain": "http://" + proxytest.NewScripted(t, early).Addr,
		"TLS":   "https://" + proxytest.NewScriptedTLS(t, proxytest.Serving(ca.Issue(t, "127.0.0.1")), early).Addr + trusted,
		"h2":    "https://" + overHTTP2.Addr + trusted,
		"h2c":   "h2c://" + cleartext.Addr,
	} {
		for _, way := range []string{"on", "off", "off\nflush_interval -1"} {
			t.Run(kind+"/fast_path "+way, func(t *testing.T) {
				s := run(t, "proxyos {\nname app\nfast_path "+way+"\nupstream "+upstream+"\n}")
				for range lab.Sized(6, 40, 6) {
					for _, isChunked := range []bool{false, true} {
						status, got, err := postInPieces(t, strings.TrimPrefix(s.URL, "http://"), isChunked)
						if status != http.StatusUnauthorized || got != answer || err != nil {
							t.Errorf("chunked %v: the client gets %d with %d bytes, %v", isChunked, status, len(got), err)
						}
					}
				}
				allUp(t, s)
				if entries := s.Logs.Entries("aborting with incomplete response"); len(entries) > 0 {
					t.Errorf("logged is %v", entries)
				}
				eventually(t, "nobody waits who was to send the rest", func() bool {
					stacks := make([]byte, 8<<20)
					return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "waitForEnd")
				})
			})
		}
	}
}

// The proxy closes the connection where it cannot read the answer. That is not to be told as the upstream's doing.
func TestAnAnswerThatIsTooLargeIsToldAsThat(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	large := func(x *proxytest.Exchange) {
		x.Send("HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 3000))
		x.Hang()
	}
	for kind, upstream := range map[string]string{
		"plain": "http://" + proxytest.NewScripted(t, large).Addr,
		"TLS":   "https://" + proxytest.NewScriptedTLS(t, proxytest.Serving(ca.Issue(t, "127.0.0.1")), large).Addr + " {\ntls_trust_pool file " + ca.File + "\n}",
	} {
		for _, way := range []string{"on", "off"} {
			t.Run(kind+"/fast_path "+way, func(t *testing.T) {
				s := run(t, "proxyos {\nname app\nfast_path "+way+"\nupstream "+upstream+"\ntransport http {\nmax_response_header 2KB\n}\n}")
				for range lab.Sized(10, 50, 10) {
					if status, _, err := postInPieces(t, strings.TrimPrefix(s.URL, "http://"), false); status != http.StatusBadGateway || err != nil {
						t.Errorf("the client gets %d, %v", status, err)
					}
				}
				told := s.Logs.Entries("exceeded 2000 bytes")
				told = append(told, s.Logs.Entries("larger than max_response_header")...)
				if len(told) == 0 {
					t.Error("nothing is logged of the header")
				}
				if hints := s.Logs.Entries("without an answer"); len(hints) > 0 {
					t.Errorf("logged is %v", hints)
				}
			})
		}
	}
}

// An upstream that dies in the middle of an answer of unknown length, while it is sent a request: what the
// client has got must not look like all of it.
func TestAnAnswerThatIsBrokenOffOverHTTP2LooksBroken(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	b := proxytest.SignedBy(t, ca, "echo", "")
	b.Answer(func(w http.ResponseWriter, r *http.Request) {
		for buffer := make([]byte, 16<<10); ; {
			n, err := r.Body.Read(buffer)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(buffer[:n])
			_ = http.NewResponseController(w).Flush()
		}
	})
	s := newServer(t)
	s.MustLoad("{\nservers {\nprotocols h1 h2c\n}\n}\n" + s.Site("proxyos {\nupstream https://"+b.Addr+" {\ntls_trust_pool file "+ca.File+"\n}\nflush_interval -1\nfail_duration 0\n}"))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	for range lab.Sized(8, 30, 8) {
		client := &http.Transport{Protocols: protocols}
		body, feed := io.Pipe()
		go func() {
			for err := error(nil); err == nil; {
				_, err = feed.Write(make([]byte, 16<<10))
			}
		}()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		time.AfterFunc(30*time.Millisecond, func() {
			b.Stop()
			close(stopped)
		})
		if n, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Errorf("%d bytes of an answer that was broken off look like all of it", n)
		}
		res.Body.Close()
		body.Close()
		client.CloseIdleConnections()
		<-stopped
		b.Start()
	}
}

// postInPieces sends a body bit by bit, and reads the answer meanwhile.
func postInPieces(t *testing.T, addr string, isChunked bool) (status int, body string, err error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	piece := strings.Repeat("b", 1000)
	pieces := slices.Repeat([]string{piece}, 50)
	head := "Content-Length: 50000\r\n\r\n"
	if isChunked {
		pieces = append(slices.Repeat([]string{"3e8\r\n" + piece + "\r\n"}, 50), "0\r\n\r\n")
		head = "Transfer-Encoding: chunked\r\n\r\n"
	}
	go func() {
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+addr+"\r\n"+head)
		for _, piece := range pieces {
			_, _ = io.WriteString(conn, piece)
			time.Sleep(50 * time.Microsecond)
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	return res.StatusCode, string(read), err
}

// A backend closes a connection that has been idle just as a request is sent over it.
func TestAConnectionThatEndedWhileIdleIsNoEvidence(t *testing.T) {
	once := func(x *proxytest.Exchange) {
		if x.N > 0 {
			x.Close()
			return
		}
		proxytest.Reply("fine")(x)
	}
	bothForms(t, "proxyos "+proxytest.NewScripted(t, once).Addr+" "+proxytest.NewScripted(t, once).Addr+" {\nname app\n}", func(t *testing.T, s *server) {
		for i := range 20 {
			if status, body := s.Get("/"); status != http.StatusOK || body != "fine" {
				t.Errorf("GET %d gets %d %q", i, status, body)
			}
		}
		failed := 0
		for range 20 {
			res, err := s.Client.Post(s.URL, "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode == http.StatusBadGateway {
				failed++
			}
		}
		if failed == 0 {
			t.Error("no POST met a connection that had ended")
		}
		allUp(t, s)
		if hints := s.Logs.EntriesWith("hint"); len(hints) == 0 || !strings.Contains(hints[0]["hint"].(string), "`keepalive") {
			t.Errorf("logged is %v, want a hint about keepalive", hints)
		}
	})
}

func TestARequestMeetsANewConnectionWhereManyHaveEnded(t *testing.T) {
	upstream := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		if x.N > 0 {
			proxytest.CloseUnanswered(x)
			return
		}
		if x.Method == http.MethodGet {
			time.Sleep(200 * time.Millisecond) // so that each of those below has a connection of its own
		}
		proxytest.Reply("fine")(x)
	})
	s := run(t, "proxyos "+upstream.Addr+" {\nname app\nlb_retries 2\nlb_retry_match method POST\n}")
	if failed := s.Crowd(20, 20, func() *http.Request { return s.Request("GET", "/", nil) }); failed > 0 {
		t.Fatalf("%d requests failed", failed)
	}
	if got := s.Do(s.Request("POST", "/", strings.NewReader("body"))); got.StatusCode != http.StatusOK {
		t.Errorf("got %d", got.StatusCode)
	}
	allUp(t, s)
}

func TestOnlyWhatRetryMatchSaysIsSentAgain(t *testing.T) {
	once := func(x *proxytest.Exchange) {
		if x.N > 0 {
			proxytest.CloseUnanswered(x)
			return
		}
		proxytest.Reply("fine")(x)
	}
	for _, option := range []string{"lb_retry_match path /safe", "lb_retry_match `{rp.is_transport_error} && path('/safe')`", "lb_retry_match `{rp.status_code} == 503`"} {
		t.Run(option, func(t *testing.T) {
			upstream := proxytest.NewScripted(t, once)
			s := run(t, "proxyos "+upstream.Addr+" {\nname app\nlb_retries 2\n"+option+"\n}")
			for path, wants := range map[string]int64{"/safe": 2, "/pay": 1} {
				if strings.Contains(option, "503") {
					wants = 1
				}
				if status, _ := s.Get("/"); status != http.StatusOK { // now there is a connection
					t.Fatalf("GET gets %d", status)
				}
				before := upstream.Count()
				s.Do(s.Request("POST", path, strings.NewReader("body")))
				if sent := upstream.Count() - before; sent != wants {
					t.Errorf("POST %s is sent %d times, want %d", path, sent, wants)
				}
			}
		})
	}
}

func TestABodyIsSentToAnotherUpstreamWholeOrNotAtAll(t *testing.T) {
	for _, size := range []int{7, 64 << 10, 1 << 20} {
		body := strings.Repeat("x", size)
		closing := proxytest.NewScripted(t, proxytest.CloseUnanswered)
		good := []*backend{plain(t, "one", ""), plain(t, "two", "")}
		for _, b := range good {
			b.Answer(func(w http.ResponseWriter, r *http.Request) {
				whole, _ := io.ReadAll(r.Body) // before the answer begins, which ends the reading
				_, _ = w.Write(whole)
			})
		}
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := run(t, fmt.Sprintf("proxyos %s %s %s {\nname app\n}", closing.Addr, good[0].Addr, good[1].Addr))
			for i := range 9 {
				req := s.Request("GET", "/", strings.NewReader(body))
				res, err := s.Client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(res.Body)
				res.Body.Close()
				kept := size <= 64<<10
				switch {
				case res.StatusCode == http.StatusOK && string(got) == body:
				case !kept && res.StatusCode == http.StatusBadGateway:
				default:
					t.Errorf("request %d gets %d and %d bytes of %d", i, res.StatusCode, len(got), size)
				}
			}
			if got := fmt.Sprint(s.Healths()); got != "[down up up]" {
				t.Errorf("the upstreams are %s, want only the first one down", got)
			}
		})
	}
}

func TestABodyThatIsUsedUpIsHeldAgainstNobody(t *testing.T) {
	long := strings.Repeat("x", 1<<20)

	t.Run("an answer that retry_match does not want", func(t *testing.T) {
		busy, other := plain(t, "busy", ""), plain(t, "other", "")
		busy.Answer(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		s := run(t, "proxyos "+busy.Addr+" "+other.Addr+" {\nname app\nlb_retry_match `{rp.status_code} == 503`\n}")
		for _, wants := range []int{http.StatusServiceUnavailable, http.StatusOK, http.StatusServiceUnavailable, http.StatusOK} {
			if got := s.Do(s.Request("POST", "/", strings.NewReader(long))); got.StatusCode != wants {
				t.Errorf("got %d, want %d", got.StatusCode, wants)
			}
		}
		allUp(t, s)
	})

	t.Run("a connection that ended while idle", func(t *testing.T) {
		once := func(x *proxytest.Exchange) {
			if x.N > 0 {
				proxytest.CloseUnanswered(x)
				return
			}
			proxytest.Reply("fine")(x)
		}
		s := run(t, "proxyos "+proxytest.NewScripted(t, once).Addr+" "+proxytest.NewScripted(t, once).Addr+" {\nname app\n}")
		for range 2 {
			s.Wants(http.StatusOK, "fine")
		}
		for range 4 {
			if got := s.Do(s.Request("GET", "/", strings.NewReader(long))); got.StatusCode != http.StatusOK && got.StatusCode != http.StatusBadGateway {
				t.Errorf("got %d", got.StatusCode)
			}
		}
		allUp(t, s)
	})
}

func TestAnyUpgradeGoesOverHTTP1(t *testing.T) {
	for _, protocol := range []string{"SPDY/3.1", "tcp", "websocket", "foo/2"} {
		t.Run(protocol, func(t *testing.T) {
			lab.ThroughEachKind(t, func(t *testing.T, s *server, b *backend) {
				b.Answer(func(w http.ResponseWriter, r *http.Request) {
					if r.ProtoMajor != 1 || !strings.EqualFold(r.Header.Get("Upgrade"), protocol) {
						http.Error(w, fmt.Sprintf("asked for %q over %s", r.Header.Get("Upgrade"), r.Proto), http.StatusBadRequest)
						return
					}
					conn, stream, err := http.NewResponseController(w).Hijack()
					if err != nil {
						return
					}
					defer conn.Close()
					fmt.Fprintf(stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
					stream.Flush()
					_, _ = io.Copy(conn, stream)
				})
				if status, _ := s.Get("/warm"); status == 0 { // so that there may be a connection of HTTP/2 already
					t.Error("no answer")
				}
				conn := proxytest.Dial(t, s.Addr)
				conn.Send("GET / HTTP/1.1\r\nHost: " + s.Addr + "\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
				answer := conn.ReadAnswer("GET")
				if answer.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("the answer is %+v", answer)
				}
				conn.Send("hello")
				echo := make([]byte, 5)
				if _, err := io.ReadFull(conn.Reader, echo); err != nil || string(echo) != "hello" {
					t.Errorf("the echo is %q, %v", echo, err)
				}
			})
		})
	}
}

// As of `docker run -i`: the client ends its input, and waits for the output.
func TestOneSideOfAnUpgradedConnectionMayEndFirst(t *testing.T) {
	lab.ThroughEachKind(t, func(t *testing.T, s *server, b *backend) {
		b.Answer(func(w http.ResponseWriter, _ *http.Request) {
			conn, stream, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprint(stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			stream.Flush()
			input, err := io.ReadAll(stream)
			fmt.Fprintf(conn, "the input was %q, %v", input, err)
		})
		conn := proxytest.Dial(t, s.Addr)
		conn.Send("POST /attach HTTP/1.1\r\nHost: " + s.Addr + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		if answer := conn.ReadAnswer("POST"); answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the answer is %+v", answer)
		}
		conn.Send("hello")
		conn.CloseWrite()
		if output, err := conn.ReadAll(); output != `the input was "hello", <nil>` || err != nil {
			t.Errorf("the output is %q, %v", output, err)
		}
	})
}

func TestAnOfferOfHTTP2IsServedAsUsual(t *testing.T) {
	lab.ThroughEachKind(t, func(t *testing.T, s *server, b *backend) {
		conn := proxytest.Dial(t, s.Addr)
		conn.Send("GET / HTTP/1.1\r\nHost: " + s.Addr + "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
		if answer := conn.ReadAnswer("GET"); answer.StatusCode != http.StatusOK || answer.Text != b.Name {
			t.Errorf("the answer is %+v", answer)
		}
		if last := b.Last(); last.Header.Get("Upgrade") != "" || last.Header.Get("Http2-Settings") != "" {
			t.Errorf("the upstream got %v", last.Header)
		}
	})
}

// The first request after an upstream has recovered is one that takes long. It must not keep
// the others away.
func TestALongTrialKeepsNobodyAway(t *testing.T) {
	s := newServer(t)
	var routes strings.Builder
	tests := make(map[string]func(*testing.T))
	for name, long := range map[string]string{
		"poll":      "GET /poll HTTP/1.1\r\n\r\n",
		"upload":    "POST /upload HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nbegin",
		"WebSocket": "GET /WebSocket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
	} {
		prod, stag := plain(t, "production", ""), plain(t, "staging", "")
		arrived := make(chan struct{}, 1)
		stag.Answer(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Long") != "" {
				arrived <- struct{}{}
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, stag.Name)
		})
		fmt.Fprintf(&routes, "handle /%s {\nproxyos %s {\nname %s\nstaging %s\nstaging_when header X-Group staging\nfail_duration 300ms\n}\n}\n", name, prod.Addr, name, stag.Addr)
		tests[name] = func(t *testing.T) {
			s := &server{Caddy: s.Caddy, T: t}
			visit := func() string {
				got := s.Do(s.Request("GET", "/"+name, nil, "X-Group", "staging"))
				if got.StatusCode != http.StatusOK {
					t.Fatal(got.Status)
				}
				return got.Body
			}
			health := func() string { return s.Named(name).Groups[staging].Upstreams[0].Health }
			stag.Stop()
			if group := visit(); group != "production" {
				t.Fatalf("a request for a dead staging goes to %q", group)
			}
			stag.Start()
			eventually(t, "staging is on trial", func() bool { return health() == "on trial" })
			conn := proxytest.Dial(t, s.Addr)
			conn.Send(strings.Replace(long, "\r\n", "\r\nHost: "+s.Addr+"\r\nX-Group: staging\r\nX-Long: 1\r\n", 1))
			<-arrived
			began := time.Now()
			eventually(t, "another request gets through", func() bool { return visit() == "staging" })
			if took := time.Since(began); took > 1300*time.Millisecond {
				t.Errorf("that took %s", took)
			}
			if got := health(); got != "up" {
				t.Errorf("then staging is %s", got)
			}
		}
	}
	s.MustLoad(quiet + s.Site(routes.String()))
	proxytest.Together(t, tests)
}

func TestAnActiveCheckIsAFactAndAMarkIsAGuess(t *testing.T) {
	dead, other := plain(t, "dead", ""), plain(t, "other", "")
	dead.Stop()
	other.Stop()
	bothForms(t, "proxyos "+dead.Addr+" "+other.Addr+" {\nname app\nhealth_uri /\nhealth_interval 50ms\nhealth_timeout 1s\n}", func(t *testing.T, s *server) {
		eventually(t, "the checks have found both down", func() bool { return fmt.Sprint(s.Healths()) == "[down down]" })
		before := s.Route().Groups[production].Upstreams[0].Requests
		began := time.Now()
		for range 10 {
			if status, _ := s.Get("/"); status != http.StatusServiceUnavailable {
				t.Fatalf("got %d, want 503", status)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("that took %s", took)
		}
		if after := s.Route().Groups[production].Upstreams[0].Requests; after != before {
			t.Errorf("%d requests were tried on an upstream that the check had found down", after-before)
		}
		other.Start()
		eventually(t, "one is back", func() bool { _, body := s.Get("/"); return body == "other" })
		other.Stop()
	})

	t.Run("the page", func(t *testing.T) {
		s := run(t, "proxyos "+dead.Addr+" {\nname app\nhealth_uri /\nhealth_interval 50ms\n}\nhandle_errors {\nrespond \"sorry {err.status_code}\" 200\n}")
		eventually(t, "the check has found it down", func() bool { return fmt.Sprint(s.Healths()) == "[down]" })
		if status, body := s.Get("/"); status != 200 || body != "sorry 503" {
			t.Errorf("got %d %q, want the page for 503", status, body)
		}
	})

	t.Run("a mark", func(t *testing.T) {
		s := run(t, "proxyos "+dead.Addr+" "+other.Addr+" {\nname app\n}")
		for range 5 {
			if status, _ := s.Get("/"); status != http.StatusBadGateway {
				t.Errorf("got %d", status)
			}
		}
		if got := fmt.Sprint(s.Healths()); got != "[down down]" {
			t.Fatalf("the upstreams are %s", got)
		}
		other.Start()
		defer other.Stop()
		if status, body := s.Get("/"); status != http.StatusOK || body != "other" {
			t.Errorf("while both are marked down, the one that is back gives %d %q", status, body)
		}
	})
}

func TestWhatLaterHandlersDoIsNotTheRoutes(t *testing.T) {
	auth, app := plain(t, "auth", ""), plain(t, "app", "")
	under, release := make(chan struct{}), make(chan struct{})
	app.Answer(func(w http.ResponseWriter, r *http.Request) {
		close(under)
		<-release
		http.Error(w, "slow", http.StatusInternalServerError)
	})
	s := run(t, "route {\nproxyos "+auth.Addr+" {\nname auth\n@ok status 2xx\nhandle_response @ok {\n}\n}\nreverse_proxy "+app.Addr+"\n}")
	done := make(chan int)
	go func() { status, _ := s.Get("/"); done <- status }()
	<-under
	if r := s.Named("auth"); r.Groups[production].InFlight != 0 || r.Groups[production].Requests != 1 {
		t.Errorf("while a later handler works: %d in flight, %d served; want 0, 1", r.Groups[production].InFlight, r.Groups[production].Requests)
	}
	close(release)
	if status := <-done; status != http.StatusInternalServerError {
		t.Errorf("the answer is %d", status)
	}
	if r := s.Named("auth"); r.Groups[production].Requests != 1 || r.Groups[production].Errors != 0 {
		t.Errorf("the route counts %d requests, %d errors; want 1, 0", r.Groups[production].Requests, r.Groups[production].Errors)
	}
}

func TestAStickyClientHasItsCookieFromLaterHandlers(t *testing.T) {
	auth, app := plain(t, "auth", ""), plain(t, "app", "")
	for _, later := range []string{"respond hello", "reverse_proxy " + app.Addr, "error 404"} {
		t.Run(later, func(t *testing.T) {
			s := run(t, "route {\n"+blueGreenDirective(auth.Addr, auth.Addr, "traffic_split 50", "sticky cookie", "@ok status 2xx\nhandle_response @ok {\n}")+"\n"+later+"\n}")
			if cookies := s.Do(s.Request("GET", "/", nil)).Cookies(); len(cookies) != 1 {
				t.Errorf("the client gets %v, want one cookie", cookies)
			}
		})
	}
}

func TestOneSiteWithTwoListenersIsOneRoute(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	other := freeAddr(t)
	s.MustLoad(quiet + "http://" + s.Addr + ", http://" + other + " {\nbind 127.0.0.1\n" + blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 50") + "\n}\n")
	status, answer := s.Ask("GET", "/proxyos/routes", "")
	if status != http.StatusOK || strings.Count(answer, `"name":"app"`) != 1 {
		t.Errorf("listed is %d %s", status, answer)
	}
	visit := func(addr string) string {
		res, err := s.Client.Get("http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	counts := make(map[string]int)
	for i := range 100 {
		counts[visit([]string{s.Addr, other}[i/2%2])]++
	}
	if counts["production"] != 50 || counts["staging"] != 50 {
		t.Errorf("100 requests to both listeners: %v", counts)
	}
	if r := s.Route(); r.Groups[production].Requests != 50 || r.Groups[staging].Requests != 50 {
		t.Errorf("the route counts %d and %d", r.Groups[production].Requests, r.Groups[staging].Requests)
	}
	s.Split(100)
	for _, addr := range []string{s.Addr, other} {
		if got := visit(addr); got != "staging" {
			t.Errorf("promoted, %s answers from %s", addr, got)
		}
	}
}

func TestOneRoutesFailureIsNotAnothers(t *testing.T) {
	secure, spare := untrusted(t, "secure", ""), untrusted(t, "spare", "")
	s := newServer(t)
	other := freeAddr(t)
	s.MustLoad(quiet + s.Site("proxyos https://"+secure.Addr+" https://"+spare.Addr+" {\nname checked\n}") +
		"http://" + other + " {\nbind 127.0.0.1\nproxyos https://" + secure.Addr + " https://" + spare.Addr + " {\nname skipped\nskip_tls_verify\n}\n}\n")
	for range 3 {
		if status, _ := s.Get("/"); status != http.StatusBadGateway {
			t.Fatalf("a certificate that is not trusted gives %d", status)
		}
	}
	counts := make(map[string]int)
	for range 10 {
		res, err := s.Client.Get("http://" + other)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		counts[string(body)]++
	}
	if counts["secure"] != 5 || counts["spare"] != 5 {
		t.Errorf("the other route's requests go to %v", counts)
	}
	if r := s.Named("checked"); r.Groups[production].Upstreams[0].Health != "down" {
		t.Errorf("in its own route the upstream is %s", r.Groups[production].Upstreams[0].Health)
	}
	if r := s.Named("skipped"); r.Groups[production].Upstreams[0].Health != "up" || r.Groups[production].Upstreams[0].Errors != 0 {
		t.Errorf("in the other route the upstream is %+v", r.Groups[production].Upstreams[0])
	}
}

func TestEachGroupCountsItsOwn(t *testing.T) {
	one := plain(t, "one", "")
	s := run(t, "proxyos "+one.Addr+" {\nname app\nstaging "+one.Addr+"\ntraffic_split 25\n}")
	s.Tally(40)
	r := s.Route()
	if p, q := r.Groups[production].Upstreams[0].Requests, r.Groups[staging].Upstreams[0].Requests; p != 30 || q != 10 {
		t.Errorf("the upstream in both groups counts %d and %d requests, want 30 and 10", p, q)
	}
}

func TestTheCookiesOfBothGroupsPoliciesHaveNamesOfTheirOwn(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	bothForms(t, "proxyos "+prod.Addr+" {\nlb_policy cookie\nstaging "+stag.Addr+" {\nlb_policy cookie\n}\ntraffic_split 50\n}", func(t *testing.T, s *server) {
		seen := make(map[string]bool)
		for range 4 {
			res, err := s.Client.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			for _, cookie := range res.Cookies() {
				seen[cookie.Name] = true
			}
		}
		if !seen["lb"] || !seen["lb_staging"] || len(seen) != 2 {
			t.Errorf("the cookies are %v", seen)
		}
	})
	s := newServer(t)
	err := s.Load(s.Site("proxyos " + prod.Addr + " {\nlb_policy cookie session\nstaging " + stag.Addr + " {\nlb_policy cookie session\n}\ntraffic_split 50\n}"))
	if err == nil || !strings.Contains(err.Error(), `production's cookie has the name "session", too`) {
		t.Errorf("one name for both: %v", err)
	}
}

func TestAStickyCookieIsSetOnlyInTheFinalAnswer(t *testing.T) {
	early := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		_ = x.ReadBody()
		x.Send("HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
	})
	dead := proxytest.Refused(t)
	for name, upstream := range map[string]string{"103": early.Addr, "an error": dead} {
		t.Run(name, func(t *testing.T) {
			s := run(t, "proxyos "+upstream+" {\nstaging "+upstream+"\ntraffic_split 50\nsticky cookie\n}\nhandle_errors {\nrespond sorry 502\n}")
			conn := proxytest.Dial(t, s.Addr)
			conn.Send("GET / HTTP/1.1\r\nHost: " + s.Addr + "\r\nConnection: close\r\n\r\n")
			all, err := conn.ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			last := all[strings.LastIndex(all, "HTTP/1.1 "):]
			if strings.Count(all, "Set-Cookie: proxyos=") != 1 || !strings.Contains(last, "Set-Cookie: proxyos=") {
				t.Errorf("the answer is\n%s", all)
			}
		})
	}
}

func TestASchemeInAValueGetsAHint(t *testing.T) {
	app := plain(t, "app", "")
	s := run(t, "map {header.X-App} {target} {\ndefault http://"+app.Addr+"\n}\nproxyos {target} {\nname app\n}")
	if status, _ := s.Get("/"); status != http.StatusBadGateway {
		t.Errorf("got %d", status)
	}
	if hints := s.Logs.EntriesWith("hint"); len(hints) != 1 || !strings.Contains(hints[0]["hint"].(string), "has a scheme") {
		t.Errorf("logged is %v", hints)
	}
}

func TestChecksOfDynamicUpstreamsAreWarnedOf(t *testing.T) {
	app := plain(t, "app", "")
	host, port, _ := net.SplitHostPort(app.Addr)
	s := run(t, "proxyos {\nname app\ndynamic a "+host+" "+port+"\nhealth_uri /up\n}")
	if entries := s.Logs.Entries("active health checks have no effect on dynamic upstreams"); len(entries) != 1 || entries[0]["route"] != "app" {
		t.Errorf("logged is %v", entries)
	}
}

// A request that the upstream takes apart and a client that goes on sending: neither may
// read what the other closes. The race detector looks on.
func TestBodiesAreReadAndClosedOneAtATime(t *testing.T) {
	cutters := []string{}
	for range 3 {
		cutters = append(cutters, proxytest.NewScripted(t, func(x *proxytest.Exchange) {
			_, _ = io.ReadFull(x.Body, make([]byte, 1000))
			x.Reset()
		}).Addr)
	}
	s := run(t, "proxyos "+strings.Join(cutters, " ")+" {\nfail_duration 0\nlb_retry_match method POST GET\n}")
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 20 {
				body, feed := io.Pipe()
				go func() {
					for range 50 {
						if _, err := io.WriteString(feed, strings.Repeat("x", 500)); err != nil {
							return
						}
					}
					feed.Close()
				}()
				res, err := s.Client.Post(s.URL, "text/plain", body)
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				body.Close()
			}
		})
	}
	clients.Wait()
}
