package same

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// caddyUpstream is what Caddy's own admin API tells of an upstream.
type caddyUpstream struct {
	Address     string `json:"address"`
	NumRequests int    `json:"num_requests"`
	Fails       int    `json:"fails"`
}

// allOfCaddy returns what Caddy's own admin API tells of all upstreams.
func allOfCaddy(s *server) []caddyUpstream {
	s.T.Helper()
	_, text := s.Ask(http.MethodGet, "/reverse_proxy/upstreams", "")
	return lab.Decode[[]caddyUpstream](s.T, text)
}

// hasFails tells whether Caddy counts a failure at any upstream. A config that is replaced takes
// its own back in the background.
func hasFails(s *server) bool {
	return slices.ContainsFunc(allOfCaddy(s), func(u caddyUpstream) bool { return u.Fails > 0 })
}

// upstreamsOfCaddy returns what Caddy's own admin API counts at an upstream.
func upstreamsOfCaddy(s *server, address string) (requests, fails int) {
	s.T.Helper()
	for _, one := range allOfCaddy(s) {
		if one.Address == address {
			return one.NumRequests, one.Fails
		}
	}
	return -1, -1
}

func TestCaddyCountsTheRequestsOnTheShortWay(t *testing.T) {
	release := make(chan string)
	app := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		if x.URL.Path == "/wait" {
			x.Send(<-release)
			x.Close()
			return
		}
		x.Send(answered + "\r\nok")
	})
	s := newServer(t)
	s.MustLoad(s.Site("proxyos " + app.Addr + " {\nname app\nfail_duration 1h\nmax_fails 100\n}\n"))
	for i, answer := range []string{answered + "\r\nok", answered + "\r\n", "", "SSH"} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := s.Client.Get(s.URL + "/wait"); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		eventually(t, "Caddy counts a request in flight", func() bool {
			requests, _ := upstreamsOfCaddy(s, app.Addr)
			return requests == 1
		})
		release <- answer
		<-done
		eventually(t, "Caddy counts none any more", func() bool {
			requests, fails := upstreamsOfCaddy(s, app.Addr)
			return requests == 0 && fails == max(i-1, 0)
		})
	}
	if got := waysOf(s, "app"); got != (ways{Short: 2, ReverseProxy: 2}) {
		t.Errorf("the ways are %+v", got)
	}
}

// max_requests is not plain, but the requests of a plain route with the same upstream count.
func TestMaxRequestsOfARouteCountsTheShortWayOfAnother(t *testing.T) {
	release := make(chan struct{})
	app := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		if x.URL.Path == "/wait" {
			<-release
		}
		x.Send(answered + "\r\nok")
	})
	s := run(t, "proxyos /wait "+app.Addr+" {\nname app\n}\nproxyos {\nupstream "+app.Addr+" {\nmax_requests 1\n}\n}")
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Get("/wait")
	}()
	eventually(t, "the request has reached the upstream", func() bool { return app.Count() == 1 })
	if status, _ := s.Get("/"); status != http.StatusServiceUnavailable {
		t.Errorf("status %d while the upstream is full", status)
	}
	close(release)
	<-done
	if status, _ := s.Get("/"); status != http.StatusOK {
		t.Errorf("status %d once it is not", status)
	}
	if got := waysOf(s, "app"); got.Short != 1 {
		t.Errorf("the ways are %+v", got)
	}
}

func TestTheShortWayPassesEachPieceOnAtOnce(t *testing.T) {
	for name, header := range map[string]string{
		"events of a known length": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 6\r\n\r\n",
		"an unknown length":        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			pieces := make(chan string)
			app := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
				for piece := range pieces {
					x.Send(piece)
				}
				x.Close()
			})
			s := run(t, "proxyos "+app.Addr+" {\nname app\n}")
			client := proxytest.Dial(t, s.Addr)
			client.Send("GET / HTTP/1.1\r\nHost: " + s.Addr + "\r\n\r\n")
			pieces <- header
			res, err := http.ReadResponse(client.Reader, &http.Request{Method: "GET"}) // before there is a body
			if err != nil {
				t.Fatal(err)
			}
			for _, piece := range []string{"one", "two"} {
				pieces <- piece
				got := make([]byte, len(piece))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != piece {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			close(pieces)
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("the rest is %q, %v", rest, err)
			}
			eventually(t, "it took the short way", func() bool { return waysOf(s, "app").Short == 1 })
		})
	}
}

func TestAClientOfTheShortWayThatLeavesIsNotTheUpstreamsFault(t *testing.T) {
	for _, within := range []string{"before the answer", "within the body"} {
		t.Run(within, func(t *testing.T) {
			left := make(chan struct{})
			app := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
				if within == "within the body" {
					x.Send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nbegin!")
				}
				_, _ = bufio.NewReader(x.Conn).ReadByte() // ends when Caddy gives the connection up
				close(left)
				x.Close()
			})
			s := run(t, "proxyos "+app.Addr+" "+freeAddr(t)+" {\nname app\nlb_retries 1\n}")
			client := proxytest.Dial(t, s.Addr)
			client.Send("GET / HTTP/1.1\r\nHost: " + s.Addr + "\r\n\r\n")
			if within == "within the body" {
				if _, err := client.Reader.ReadString('!'); err != nil {
					t.Fatal(err)
				}
			} else {
				eventually(t, "the upstream has the request", func() bool { return app.Count() == 1 })
			}
			client.Close()
			<-left
			eventually(t, "the request has ended", func() bool { return s.Route().Groups[production].InFlight == 0 })
			if u := s.Route().Groups[production].Upstreams[0]; u.Errors != 0 || u.Health != "up" || u.InFlight != 0 {
				t.Errorf("the upstream is %+v", u)
			}
		})
	}
}

// The short way is the same for clients of HTTP/2.
func TestTheShortWayServesHTTP2(t *testing.T) {
	app := proxytest.NewScripted(t, send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"))
	s := newServer(t)
	for _, option := range []string{"on", "off"} {
		s.MustLoad("{\nservers {\nprotocols h1 h2c\n}\n}\n" + s.Site("proxyos "+app.Addr+" {\nname app-"+option+"\nfast_path "+option+"\n}"))
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		defer transport.CloseIdleConnections()
		res, err := transport.RoundTrip(s.Request(http.MethodGet, "/", nil, "Te", "trailers"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "ok" || res.ProtoMajor != 2 || res.Trailer.Get("X-Sum") != "7" || res.Header.Get("Via") != "1.1 Caddy" {
			t.Errorf("%s: %v %q %v %v, %v", option, res.Proto, body, res.Header, res.Trailer, err)
		}
	}
	got := app.Requests()
	if len(got) != 2 || sorted(got[0].Header) != sorted(got[1].Header) || !strings.Contains(got[0].Header, "Via: 2.0 Caddy") {
		t.Errorf("the upstream gets\n%s", fmt.Sprint(got))
	}
	if ways := waysOf(s, "app-off"); ways.Short != 0 {
		t.Errorf("the ways are %+v", ways)
	}
}
