package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// idleCount is how many connections are idle.
func idleCount(t *Transport) int {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	return t.pool.idle
}

func TestIdleConnectionsThatEndedAreNotUsed(t *testing.T) {
	certificate := proxytest.SelfSigned(t, "127.0.0.1")
	for name, config := range map[string]*tls.Config{
		"plain":   nil,
		"TLS 1.3": {Certificates: []tls.Certificate{certificate}},
		"TLS 1.2": {Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12},
	} {
		for ending, end := range map[string]func(*proxytest.Exchange){
			"closed":  (*proxytest.Exchange).Close,
			"garbage": func(x *proxytest.Exchange) { x.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") },
		} {
			t.Run(name+" "+ending, func(t *testing.T) {
				scheme := "https"
				if config == nil {
					scheme = "http"
				}
				ended := make(chan struct{})
				server := proxytest.NewScriptedTLS(t, config, func(x *proxytest.Exchange) {
					proxytest.Reply("hello")(x)
					<-ended
					end(x)
					ended <- struct{}{}
				})
				transport := newTransport(t, &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}})
				for n := range 3 {
					// not replayable, so that nothing but the look at the connection can save it
					req, _ := http.NewRequest(http.MethodPost, scheme+"://"+server.Addr, nil)
					if got, err := read(transport.RoundTrip(req)); got != "hello" || err != nil {
						t.Fatalf("request %d: got %q, %v", n, got, err)
					}
					ended <- struct{}{}
					<-ended
					time.Sleep(10 * time.Millisecond) // loopback, too, takes its time
				}
				if got := server.Conns.Load(); got != 3 {
					t.Errorf("3 connections that ended were %d", got)
				}
			})
		}
	}
}

func TestNothingLeftOfAnAnswerAnswersTheNextRequest(t *testing.T) {
	certificate := proxytest.SelfSigned(t, "127.0.0.1")
	body := strings.Repeat("x", 10_000)
	script := says("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + body + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
	for name, config := range map[string]*tls.Config{
		"plain":   nil,
		"TLS 1.3": {Certificates: []tls.Certificate{certificate}},
		"TLS 1.2": {Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12},
	} {
		for dialer, settings := range map[string]*http.Transport{
			"":           {TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
			" dialed so": {DialTLSContext: (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext},
		} {
			t.Run(name+dialer, func(t *testing.T) {
				url := "http://"
				if config != nil {
					url = "https://"
				}
				server := proxytest.NewScriptedTLS(t, config, script)
				transport := newTransport(t, settings)
				for range 5 {
					wants(t, transport, url+server.Addr, body)
				}
				if got := server.Conns.Load(); got != 5 {
					t.Errorf("%d connections, want 5", got)
				}
			})
		}
	}
}

func TestTicketsOfTLSDoNotEndAConnection(t *testing.T) {
	certificate := proxytest.SelfSigned(t, "127.0.0.1")
	server := proxytest.NewScriptedTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}, proxytest.Reply("hello"))
	transport := newTransport(t, &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}})
	c, err := transport.dial(t.Context(), key{scheme: "https", host: server.Addr})
	if err != nil {
		t.Fatal(err)
	}
	proxytest.Eventually(t, "a ticket comes", c.eye.seesAnything)
	transport.pool.mu.Lock()
	transport.pool.host(c.where).open++
	transport.pool.mu.Unlock()
	if !transport.pool.put(c) {
		t.Fatal("the connection is not kept")
	}
	for range 3 {
		wants(t, transport, "https://"+server.Addr, "hello")
	}
	if got := server.Conns.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestKeepsNoMoreThanItMay(t *testing.T) {
	server := proxytest.NewScripted(t, proxytest.Reply("hello"))
	other := proxytest.NewScripted(t, proxytest.Reply("other"))
	for name, test := range map[string]struct {
		settings *http.Transport
		want     int
	}{
		"by default": {&http.Transport{}, 2 * http.DefaultMaxIdleConnsPerHost},
		"a host":     {&http.Transport{MaxIdleConnsPerHost: 3}, 6},
		"in all":     {&http.Transport{MaxIdleConnsPerHost: 3, MaxIdleConns: 4}, 4},
		"none":       {&http.Transport{MaxIdleConnsPerHost: -1}, 0},
		"no reuse":   {&http.Transport{DisableKeepAlives: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			transport := newTransport(t, test.settings)
			for _, addr := range []string{server.Addr, other.Addr} {
				var open []*http.Response
				for range 5 {
					req, _ := http.NewRequest(http.MethodGet, "http://"+addr, nil)
					res, err := transport.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					open = append(open, res)
				}
				for _, res := range open {
					_, _ = read(res, nil)
				}
			}
			if got := idleCount(transport); got != test.want {
				t.Errorf("%d connections are idle, want %d", got, test.want)
			}
			transport.CloseIdleConnections()
			if got := idleCount(transport); got != 0 || len(transport.pool.hosts) != 0 {
				t.Errorf("after all: %d connections are idle, and %d hosts are known", got, len(transport.pool.hosts))
			}
		})
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	server := proxytest.NewScripted(t, proxytest.Reply("hello"))
	transport := newTransport(t, &http.Transport{IdleConnTimeout: 30 * time.Millisecond})
	for range 2 {
		wants(t, transport, "http://"+server.Addr, "hello")
		proxytest.Eventually(t, "the idle connection is closed", func() bool { return idleCount(transport) == 0 })
	}
	if got := server.Conns.Load(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

func TestRequestsWaitForAPlaceInTurn(t *testing.T) {
	release := make(chan struct{})
	var mu sync.Mutex
	var served []string
	server := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		<-release
		mu.Lock()
		served = append(served, x.URL.Path)
		mu.Unlock()
		proxytest.Reply(x.URL.Path)(x)
	})
	transport := newTransport(t, &http.Transport{MaxConnsPerHost: 1})
	var all sync.WaitGroup
	waiting := func() int {
		transport.pool.mu.Lock()
		defer transport.pool.mu.Unlock()
		n := 0
		for _, h := range transport.pool.hosts {
			n += len(h.waiting)
		}
		return n
	}
	ask := func(path string, ctx context.Context) {
		all.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.Addr+path, nil)
			switch got, err := read(transport.RoundTrip(req)); {
			case path == "/2" && !errors.Is(err, context.Canceled), path != "/2" && (err != nil || got != path):
				t.Errorf("%s gets %q, %v", path, got, err)
			}
		})
	}
	ask("/0", t.Context())
	proxytest.Eventually(t, "the first request is there", func() bool { return server.Count() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	for n, path := range []string{"/1", "/2", "/3"} {
		asking := t.Context()
		if path == "/2" {
			asking = ctx
		}
		ask(path, asking)
		proxytest.Eventually(t, "it waits", func() bool { return waiting() == n+1 })
	}
	cancel()
	proxytest.Eventually(t, "one has left", func() bool { return waiting() == 2 })
	close(release)
	all.Wait()
	if got := strings.Join(served, " "); got != "/0 /1 /3" {
		t.Errorf("they are served in this order: %s", got)
	}
	if got := server.Conns.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestADialOutlivesItsRequest(t *testing.T) {
	server := proxytest.NewScripted(t, proxytest.Reply("hello"))
	dialing, proceed := make(chan struct{}), make(chan struct{})
	transport := newTransport(t, &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		close(dialing)
		<-proceed
		return new(net.Dialer).DialContext(ctx, network, addr)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.Addr, nil)
		_, err := transport.RoundTrip(req)
		failed <- err
	}()
	<-dialing
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(proceed)
	proxytest.Eventually(t, "the connection is idle", func() bool { return idleCount(transport) == 1 })
	wants(t, transport, "http://"+server.Addr, "hello") // a second dial would close dialing again
}
