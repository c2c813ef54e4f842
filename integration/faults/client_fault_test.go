package faults

import (
	"bytes"
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

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// innocents are the upstreams of a route with the default options, three of production and
// two of staging, whom nothing that a client does may be held against.
type innocents struct {
	*server
	all []*backend
}

const innocentSplit = 10

func newInnocents(t *testing.T, subdirectives ...string) *innocents {
	t.Helper()
	s := &innocents{server: newServer(t)}
	var groups [2][]string
	for i := range 5 {
		name := fmt.Sprintf("production-%d", i)
		group := production
		if i >= 3 {
			name, group = fmt.Sprintf("staging-%d", i), staging
		}
		b := plain(t, name, "")
		s.all = append(s.all, b)
		groups[group] = append(groups[group], b.Addr)
	}
	directive := blueGreenDirective(strings.Join(groups[production], " "), strings.Join(groups[staging], " "),
		append([]string{fmt.Sprintf("traffic_split %d", innocentSplit), "staging_when header X-Group staging", "production_when header X-Group production"}, subdirectives...)...)
	s.MustLoad("{\nlog {\nlevel DEBUG\n}\nservers {\nprotocols h1 h2c\ntimeouts {\nread_body 400ms\n}\n}\n}\n" +
		s.Site("request_body {\nmax_size 1MB\n}\n"+directive))
	return s
}

// slowly has the backends answer after they have read the body, or a while later.
func (s *innocents) slowly(delay time.Duration) {
	for _, b := range s.all {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			select {
			case <-time.After(delay):
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, b.Name)
		})
	}
}

// misdeed is one way in which a client can behave. It returns what it got as an answer:
// empty if it did not wait for one.
type misdeed struct {
	name   string
	wants  string // the statuses that it may get, as "400 499"; empty if it is not there to get any
	commit func(t *testing.T, addr, group string) string
}

// rawly sends text over a connection of its own, and then ends it in a way.
func rawly(text string, end func(*net.TCPConn) string) func(*testing.T, string, string) string {
	return func(t *testing.T, addr, group string) string {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		text := strings.Replace(text, "\r\n", "\r\nHost: "+addr+"\r\nX-Group: "+group+"\r\n", 1)
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		return end(conn.(*net.TCPConn))
	}
}

// The ways to end a connection.
func reads(conn *net.TCPConn) string {
	answer := make([]byte, 4096)
	n, _ := io.ReadAtLeast(conn, answer, len("HTTP/1.1 200"))
	return string(answer[:n])
}

func readsAfterClosing(conn *net.TCPConn) string {
	_ = conn.CloseWrite()
	return reads(conn)
}

func leaves(*net.TCPConn) string { return "" }

func leavesLater(*net.TCPConn) string {
	time.Sleep(50 * time.Millisecond) // until the request has arrived, which is the point
	return ""
}

func resets(conn *net.TCPConn) string {
	time.Sleep(50 * time.Millisecond) // likewise
	_ = conn.SetLinger(0)
	return ""
}

// http2ly begins a request over HTTP/2, and goes on by hand.
func http2ly(method string, contentLength int, endStream bool, goOn func(*http2.Framer) bool) func(*testing.T, string, string) string {
	return func(t *testing.T, addr, group string) string {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, http2.ClientPreface)
		framer := http2.NewFramer(conn, conn)
		_ = framer.WriteSettings()
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, field := range [][2]string{{":method", method}, {":path", "/"}, {":scheme", "http"}, {":authority", addr}, {"x-group", group}} {
			_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
		if contentLength >= 0 {
			_ = encoder.WriteField(hpack.HeaderField{Name: "content-length", Value: fmt.Sprint(contentLength)})
		}
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: endStream, EndHeaders: true})
		if !goOn(framer) {
			return ""
		}
		decoder := hpack.NewDecoder(4096, nil)
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return "closed"
			}
			switch frame := frame.(type) {
			case *http2.RSTStreamFrame:
				return "reset"
			case *http2.GoAwayFrame:
				return "closed"
			case *http2.HeadersFrame:
				fields, err := decoder.DecodeFull(frame.HeaderBlockFragment())
				if err == nil && len(fields) > 0 && fields[0].Value != "100" {
					return "HTTP/2 " + fields[0].Value
				}
			}
		}
	}
}

const long = 200_000

var misdeeds = []misdeed{
	{"leaves before the answer", "", rawly("GET / HTTP/1.1\r\n\r\n", leavesLater)},
	{"leaves at once", "", rawly("GET / HTTP/1.1\r\n\r\n", leaves)},
	{"resets before the answer", "", rawly("GET / HTTP/1.1\r\n\r\n", resets)},
	{"leaves in a body of known length", "", rawly("POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\nhalf", leavesLater)},
	{"resets in a body of known length", "", rawly("POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\nhalf", resets)},
	{"ends a body of known length too early", "400", rawly("POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\nhalf", readsAfterClosing)},
	{"ends the body of a GET too early", "400", rawly("GET / HTTP/1.1\r\nContent-Length: 20\r\n\r\nhalf", readsAfterClosing)},
	{"leaves in the body of a GET", "", rawly("GET / HTTP/1.1\r\nContent-Length: 20\r\n\r\nhalf", leavesLater)},
	{"leaves after a long part of the body", "", rawly("POST / HTTP/1.1\r\nContent-Length: 400000\r\n\r\n"+strings.Repeat("x", long), leavesLater)},
	{"leaves in a chunk", "", rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhalf", leavesLater)},
	{"leaves between chunks", "", rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", leavesLater)},
	{"ends a chunked body too early", "400", rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", readsAfterClosing)},
	{"ends the chunked body of a GET too early", "400", rawly("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", readsAfterClosing)},
	{"sends a chunk without a size", "400", rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n", reads)},
	{"sends the chunk of a GET without a size", "400", rawly("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", reads)},
	{"sends a chunk that is longer than its size", "400", rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfhalf\r\n0\r\n\r\n", reads)},
	{"sends a trailer that is none", "400", rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nno colon\r\n\r\n", reads)},
	{"sends a body that is too long", "413", rawly("POST / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n"+strings.Repeat("x", 1_100_000), reads)},
	{"sends a chunked body that is too long", "413", rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10c8e0\r\n"+strings.Repeat("x", 1_100_000), reads)},
	{"sends no more of its body", "408", rawly("POST / HTTP/1.1\r\nContent-Length: 20\r\n\r\nhalf", reads)},
	{"sends nothing of its body", "408", rawly("PUT / HTTP/1.1\r\nContent-Length: 20\r\n\r\n", reads)},
	{"expects 100 and sends nothing", "100 408", rawly("PUT / HTTP/1.1\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n", reads)},
	{"expects 100 and leaves", "", rawly("PUT / HTTP/1.1\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n", leavesLater)},
	{"leaves after the body", "", rawly("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nfull", leavesLater)},
	{"resets after the body", "", rawly("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nfull", resets)},
	{"asks for an upgrade that nobody has to honour", "200", rawly("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", reads)},
	{"offers HTTP/2", "200", rawly("GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", reads)},
	{"asks for a WebSocket and leaves", "", rawly("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", leavesLater)},
	{"sends a query that cannot be a header", "400", rawly("GET /?q=a%0d%0aX:%20y HTTP/1.1\r\n\r\n", reads)},
	{"sends an encoded query that would not be a header", "200", rawly("GET /?a%0d%0aX:%20y%00 HTTP/1.1\r\n\r\n", reads)},
	{"sends a query with a NUL", "400", rawly("GET /?q=%00 HTTP/1.1\r\n\r\n", reads)},
	{"POSTs a query that cannot be a header", "400", rawly("POST /?q=a%0d%0aX:%20y HTTP/1.1\r\nContent-Length: 4\r\n\r\nfull", reads)},

	{"leaves over HTTP/2", "", http2ly("GET", -1, true, func(*http2.Framer) bool { time.Sleep(50 * time.Millisecond); return false })},
	{"resets a stream", "", http2ly("GET", -1, true, func(f *http2.Framer) bool { _ = f.WriteRSTStream(1, http2.ErrCodeCancel); return false })},
	{"resets a stream in its body", "", http2ly("POST", 20, false, func(f *http2.Framer) bool {
		_ = f.WriteData(1, false, []byte("half"))
		time.Sleep(50 * time.Millisecond)
		_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
		return false
	})},
	{"resets a stream in a body of unknown length", "", http2ly("POST", -1, false, func(f *http2.Framer) bool {
		_ = f.WriteData(1, false, []byte("half"))
		time.Sleep(50 * time.Millisecond)
		_ = f.WriteRSTStream(1, http2.ErrCodeInternal)
		return false
	})},
	{"leaves in its body over HTTP/2", "", http2ly("POST", 20, false, func(f *http2.Framer) bool {
		_ = f.WriteData(1, false, []byte("half"))
		time.Sleep(50 * time.Millisecond)
		return false
	})},
	{"ends a body too early over HTTP/2", "reset 400", http2ly("POST", 20, false, func(f *http2.Framer) bool { _ = f.WriteData(1, true, []byte("half")); return true })},
	{"ends the body of a GET too early over HTTP/2", "reset 400", http2ly("GET", 20, false, func(f *http2.Framer) bool { _ = f.WriteData(1, true, []byte("half")); return true })},
	{"sends a body that is longer than it says over HTTP/2", "reset 400", http2ly("POST", 2, false, func(f *http2.Framer) bool { _ = f.WriteData(1, true, []byte("half")); return true })},
	{"sends no more of its body over HTTP/2", "408 reset", http2ly("POST", 20, false, func(f *http2.Framer) bool { _ = f.WriteData(1, false, []byte("half")); return true })},
}

func TestNothingThatAClientDoesIsHeldAgainstAnUpstream(t *testing.T) {
	s := newInnocents(t, "header_up X-Query {query}", "header_up X-Q {http.request.uri.query.q}")
	for _, deed := range misdeeds {
		t.Run(deed.name, func(t *testing.T) {
			s.slowly(200 * time.Millisecond)
			var wrong sync.Map
			var all sync.WaitGroup
			for _, group := range []string{"production", "staging"} {
				for range 6 { // as often as would take all upstreams of the group out
					all.Go(func() {
						if got := deed.commit(t, s.Addr, group); !isOneOf(got, deed.wants) {
							wrong.Store(got, group)
						}
					})
				}
			}
			all.Wait()
			wrong.Range(func(got, group any) bool {
				t.Errorf("in %s it gets %q, want one of %q", group, got, deed.wants)
				return true
			})
			s.slowly(0)
			s.areInnocent(t)
		})
	}
	for _, entry := range s.Logs.Entries("") {
		if level := entry["level"]; level == "warn" || level == "error" {
			if logger, _ := entry["logger"].(string); strings.HasPrefix(logger, "http.handlers.proxyos") || strings.HasPrefix(logger, "http.log.error") {
				t.Errorf("logged is %v", entry)
			}
		}
	}
}

// isOneOf tells whether an answer begins with one of the statuses, separated by spaces, or is
// one of the other ways in which a request can end.
func isOneOf(answer, wants string) bool {
	if wants == "" {
		return answer == ""
	}
	_, status, _ := strings.Cut(answer, " ")
	for _, want := range strings.Fields(wants) {
		if strings.HasPrefix(status, want) || answer == want {
			return true
		}
	}
	return false
}

// areInnocent checks that all upstreams are up and without an error, and that the next
// hundred requests are shared exactly.
func (s *innocents) areInnocent(t *testing.T) {
	t.Helper()
	// what a client that has left had sent may still arrive
	var app route
	eventually(t, "no request is in flight, and none arrives", func() bool {
		last := app
		app = s.server.Route()
		return inFlight(app) == 0 && attempts(app) == attempts(last)
	})
	if app.Fallbacks != 0 {
		t.Errorf("%d requests fell back", app.Fallbacks)
	}
	for _, g := range app.Groups {
		if g.Errors != 0 {
			t.Errorf("%s has %d errors", g.Name, g.Errors)
		}
		for _, u := range g.Upstreams {
			if u.Health != "up" || u.Errors != 0 || u.InFlight != 0 {
				t.Errorf("%s %s is %s with %d errors, %d in flight", g.Name, u.Dial, u.Health, u.Errors, u.InFlight)
			}
		}
	}
	s.shareExactly(t, 100)
}

// inFlight returns how many requests and attempts of a route are in flight.
func inFlight(r route) (n int64) {
	for _, g := range r.Groups {
		n += g.InFlight
		for _, u := range g.Upstreams {
			n += int64(u.InFlight)
		}
	}
	return n
}

// attempts returns how many attempts there have been at a route's upstreams.
func attempts(r route) (n uint64) {
	for _, g := range r.Groups {
		for _, u := range g.Upstreams {
			n += u.Requests
		}
	}
	return n
}

// shareExactly checks that the next n requests are shared exactly: a multiple of 60 for each
// upstream of a group to get the same.
func (s *innocents) shareExactly(t *testing.T, n int) {
	t.Helper()
	got := s.Tally(n)
	staged := 0
	for i, b := range s.all {
		group, of := n-n/innocentSplit, 3
		if i >= 3 {
			group, of = n/innocentSplit, 2
			staged += got[b.Name]
		}
		if off := float64(got[b.Name]) - float64(group)/float64(of); off > 1 || off < -1 {
			t.Errorf("%d requests: %v, and %s is off by %.1f", n, got, b.Name, off)
		}
	}
	if staged != n/innocentSplit {
		t.Errorf("%d of %d requests went to staging, want %d", staged, n, n/innocentSplit)
	}
}

func TestHonestClientsNeverNoticeHostileOnes(t *testing.T) {
	s := newInnocents(t)
	s.slowly(0)
	seconds := lab.Sized(2, 10, 10)
	duration, hostile := time.Duration(seconds)*time.Second, 100*seconds
	var honest, failed, staged atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			client := proxytest.NewClient(t)
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := client.Get(s.URL)
				if err != nil {
					failed.Add(1)
					continue
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				if strings.HasPrefix(string(body), "staging") {
					staged.Add(1)
				}
				honest.Add(1)
			}
		})
	}
	// those that are short, and go where they are forced to, so that the split counts only
	// the honest ones
	var deeds []misdeed
	for _, deed := range misdeeds {
		if !strings.Contains(deed.wants, "408") && !strings.Contains(deed.name, "query") {
			deeds = append(deeds, deed)
		}
	}
	for client := range 4 {
		clients.Go(func() {
			pace := time.NewTicker(4 * duration / time.Duration(hostile))
			defer pace.Stop()
			for i := client; i < hostile; i += 4 {
				<-pace.C
				deeds[i%len(deeds)].commit(t, s.Addr, []string{"production", "staging"}[i/4%2])
			}
		})
	}
	time.Sleep(duration)
	close(stop)
	clients.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d honest requests failed", failed.Load(), honest.Load())
	}
	if off := float64(staged.Load()) - float64(honest.Load())*innocentSplit/100; off > 0.5 || off < -0.5 {
		t.Errorf("staging had %d of %d honest requests, off by %.1f", staged.Load(), honest.Load(), off)
	}
	t.Logf("%d honest requests, %d of them staging's, beside %d hostile ones", honest.Load(), staged.Load(), hostile)
	s.areInnocent(t)
}

// What a client asks for may be fine over HTTP/1.1 and not be sent over HTTP/2, or not with what
// the route makes of it.
func TestARequestThatCannotBeSentIsNoUpstreamsFault(t *testing.T) {
	for _, kind := range lab.AllKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			s := run(t, "proxyos {\nname app\n"+kind.Option+"\nto "+plain(t, "other", "").Addr+"\nheader_up Host {query.host}\n}")
			for _, target := range []string{"foo:bar?host=x", "/?host=a%00b", "/?host=xn--%c3%a4", "/?host=a/b"} {
				for range 4 {
					if got := rawly("GET "+target+" HTTP/1.1\r\n\r\n", reads)(t, s.Addr, "none"); !isOneOf(got, "200 400") {
						t.Errorf("GET %s gets %q", target, got)
					}
				}
			}
			allUp(t, s)
		})
	}
}

// An upstream, or a time-out of the route's, may have enough of a client that keeps it waiting
// for the rest of its body. Where the client has sent all, it is the upstream that failed.
func TestAClientThatSendsSlowlyTakesNoUpstreamOut(t *testing.T) {
	impatient := func(x *proxytest.Exchange) {
		_ = x.Conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if x.ReadBody() != nil {
			x.Close()
			return
		}
		if x.Request.URL.Path == "/crash" {
			x.Close()
			return
		}
		proxytest.Reply("fine")(x)
	}
	patient := proxytest.Reply("fine")
	sends := func(path string, pause time.Duration, rest string) func(addr string) string {
		return func(addr string) string {
			return rawly("POST "+path+" HTTP/1.1\r\nContent-Length: 8\r\n\r\nhalf", func(conn *net.TCPConn) string {
				time.Sleep(pause)
				_, _ = io.WriteString(conn, rest)
				return reads(conn)
			})(t, addr, "none")
		}
	}
	const long = 600 * time.Millisecond // twice what they wait
	for _, c := range []struct {
		name   string
		script proxytest.Script
		option string
		send   func(addr string) string
		want   string
		health string
	}{
		{"an upstream closes, and the rest comes", impatient, "", sends("/", long, "half"), "408", "up"},
		{"read_timeout ends, and the rest comes", patient, "transport http {\nread_timeout 300ms\n}", sends("/", long, "half"), "408 200", "up"},
		{"an upstream crashes on what it has been sent in time", impatient, "", sends("/crash", 0, "half"), "502", "down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, two := proxytest.NewScripted(t, c.script), proxytest.NewScripted(t, c.script)
			s := run(t, "proxyos "+one.Addr+" "+two.Addr+" {\nname app\n"+c.option+"\n}")
			atOnce := lab.Sized(2, 1, 1)
			for range 4 / atOnce {
				var all sync.WaitGroup
				for range atOnce {
					all.Go(func() {
						if got := c.send(s.Addr); !isOneOf(got, c.want) && c.health == "up" {
							t.Errorf("the client gets %q, want one of %q", got, c.want)
						}
					})
				}
				all.Wait()
			}
			for _, u := range s.Route().Groups[0].Upstreams {
				if u.Health != c.health {
					t.Errorf("%s is %s, want %s", u.Dial, u.Health, c.health)
				}
			}
		})
	}
}

func TestATrailerThatMustNotBeOneIsNotSent(t *testing.T) {
	for _, kind := range lab.AllKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			s := run(t, "proxyos {\nname app\n"+kind.Option+"\n}")
			for _, declared := range []string{"X-Sum", "Host, X-Sum", "Authorization, X-Sum"} {
				for _, trailer := range []string{"Host: other", "Authorization: none", "Content-Length: 5", "If-Match: x", "Connection: close", "X y: z"} {
					got := rawly("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: "+declared+"\r\n\r\n4\r\nfull\r\n0\r\n"+trailer+"\r\nX-Sum: 1\r\n\r\n", reads)(t, s.Addr, "none")
					if !isOneOf(got, "200") {
						t.Errorf("with %q, a client gets %q", trailer, got)
					}
					if sum := kind.Backend.Last().Trailer.Get("X-Sum"); sum != "1" {
						t.Errorf("with %q, the upstream gets %q as the trailer that may be one", trailer, sum)
					}
				}
			}
			allUp(t, s)
		})
	}
}

func TestAnAddressThatAClientDecidesIsNotAvoidedForAll(t *testing.T) {
	app, other := plain(t, "app", ""), plain(t, "other", "")
	s := run(t, "proxyos {query.at} "+other.Addr+" {\nname app\n}")
	for range 4 {
		if got := s.Do(s.Request("GET", "/?at=127.0.0.1:1", nil)); got.Body != "other" {
			t.Errorf("a request for an address where nobody listens gets %d %q", got.StatusCode, got.Body)
		}
	}
	counts := make(map[string]int)
	for range 10 {
		counts[s.Do(s.Request("GET", "/?at="+app.Addr, nil)).Body]++
	}
	if counts["app"] != 5 || counts["other"] != 5 {
		t.Errorf("the next ten requests are shared as %v, want halves", counts)
	}
}
