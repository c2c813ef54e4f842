package h1

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// newTransport returns a Transport whose idle connections are closed with the test.
func newTransport(t testing.TB, settings *http.Transport) *Transport {
	transport := New(settings)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// get sends a GET, and returns the body or the error.
func get(t testing.TB, transport http.RoundTripper, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return read(transport.RoundTrip(req))
}

func read(res *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func wants(t testing.TB, transport http.RoundTripper, url, body string) {
	t.Helper()
	if got, err := get(t, transport, url); got != body || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, body)
	}
}

// endless is a body that comes until it is closed.
type endless struct{ closed chan struct{} }

func (e *endless) Read(p []byte) (int, error) {
	select {
	case <-e.closed:
		return 0, errors.New("closed")
	case <-time.After(time.Millisecond):
		return copy(p, strings.Repeat("x", 1000)), nil
	}
}

func (e *endless) Close() error {
	close(e.closed)
	return nil
}

func TestAnEarlyAnswerComesThrough(t *testing.T) {
	for name, script := range map[string]proxytest.Script{
		"that ends its side": proxytest.AnswerEarly(http.StatusRequestEntityTooLarge),
		"that closes": func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			time.Sleep(10 * time.Millisecond)
			x.Close()
		},
		"that does not close": func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := proxytest.NewScripted(t, script)
			transport := newTransport(t, &http.Transport{})
			for range 5 {
				req, _ := http.NewRequest(http.MethodPost, "http://"+server.Addr, &endless{make(chan struct{})})
				res, err := transport.RoundTrip(req)
				if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
					t.Fatalf("got %v, %v; want 413", res, err)
				}
			}
			if got := server.Conns.Load(); got != 5 {
				t.Errorf("5 requests that were not sent completely used %d connections, want 5", got)
			}
		})
	}
}

func TestEndsWithItsContext(t *testing.T) {
	hanging := proxytest.NewScripted(t, (*proxytest.Exchange).Hang)
	inBody := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		x.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		x.Hang()
	})
	why := errors.New("the reason")
	contexts := map[string]func() (context.Context, context.CancelFunc){
		"canceled": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		},
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 20*time.Millisecond)
		},
		"a cause": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
			return ctx, func() { cancel(nil) }
		},
		"before": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx, cancel
		},
	}
	for name, newContext := range contexts {
		for where, addr := range map[string]string{"header": hanging.Addr, "body": inBody.Addr} {
			t.Run(name+" in the "+where, func(t *testing.T) {
				ask := func(transport http.RoundTripper) error {
					ctx, cancel := newContext()
					defer cancel()
					req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
					_, err := read(transport.RoundTrip(req))
					return err
				}
				theirs := new(http.Transport)
				defer theirs.CloseIdleConnections()
				want, got := ask(theirs), ask(newTransport(t, &http.Transport{}))
				if got == nil || got.Error() != want.Error() || errors.Is(got, context.Canceled) != errors.Is(want, context.Canceled) ||
					errors.Is(got, context.DeadlineExceeded) != errors.Is(want, context.DeadlineExceeded) || errors.Is(got, why) != errors.Is(want, why) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	}
}

func TestLimitsOfTimeAreThoseOfHTTPTransport(t *testing.T) {
	hanging := proxytest.NewScripted(t, (*proxytest.Exchange).Hang)
	tests := map[string]struct {
		url      string
		settings *http.Transport
	}{
		"header":    {"http://" + hanging.Addr, &http.Transport{ResponseHeaderTimeout: 20 * time.Millisecond}},
		"handshake": {"https://" + hanging.Addr, &http.Transport{TLSHandshakeTimeout: 20 * time.Millisecond}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			theirs := test.settings.Clone()
			defer theirs.CloseIdleConnections()
			_, want := get(t, theirs, test.url)
			_, got := get(t, newTransport(t, test.settings.Clone()), test.url)
			var timeout net.Error
			if got == nil || got.Error() != want.Error() || !errors.As(got, &timeout) || !timeout.Timeout() {
				t.Errorf("got %v, want %v", got, want)
			}
			if errors.Is(got, context.DeadlineExceeded) != errors.Is(want, context.DeadlineExceeded) {
				t.Errorf("got %v, which is a deadline only for one", got)
			}
		})
	}
}

func TestUpgradesWithoutConnectionFieldAreUpgrades(t *testing.T) {
	server := proxytest.NewScripted(t, switching("HTTP/1.1 101 Switching Protocols\r\nUpgrade: proxmox-backup-protocol-v1\r\n\r\nearly "))
	req, _ := http.NewRequest(http.MethodGet, "http://"+server.Addr, nil)
	req.Header.Set("Upgrade", "proxmox-backup-protocol-v1")
	req.Header.Set("Connection", "Upgrade")
	res, err := newTransport(t, &http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	upgraded, ok := res.Body.(io.ReadWriteCloser)
	if !ok || res.Header.Get("Connection") != "Upgrade" {
		t.Fatalf("the answer is no upgrade: %v", res)
	}
	defer func() { _ = upgraded.Close() }()
	_, _ = io.WriteString(upgraded, "client")
	_ = res.Body.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(upgraded); string(got) != "early heard client" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTellsOfHTTP2AndLeavesTheRequestAlone(t *testing.T) {
	certificate := proxytest.SelfSigned(t, "127.0.0.1")
	listener := proxytest.Listen(t, "")
	proxytest.Serve(t, listener, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
	transport := newTransport(t, &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}})
	body := &requestBody{ReadCloser: io.NopCloser(bytes.NewReader([]byte("hello")))}
	req, _ := http.NewRequest(http.MethodPost, "https://"+listener.Addr().String(), nil)
	req.Body = body
	if _, err := transport.RoundTrip(req); !errors.Is(err, ErrHTTP2) || body.touched.Load() {
		t.Errorf("got %v, and the body was touched: %v", err, body.touched.Load())
	}
	req, _ = http.NewRequest(http.MethodGet, "https://"+listener.Addr().String(), nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	if got, err := read(transport.RoundTrip(req)); got != proxytest.Greeting || err != nil {
		t.Errorf("a WebSocket, which is not offered HTTP/2, got %q, %v", got, err)
	}
}

func TestBodyAfterCloseIsAnError(t *testing.T) {
	server := proxytest.NewScripted(t, proxytest.Reply("hello"))
	req, _ := http.NewRequest(http.MethodGet, "http://"+server.Addr, nil)
	res, err := newTransport(t, &http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if _, err := res.Body.Read(make([]byte, 1)); !errors.Is(err, errClosedBody) {
		t.Errorf("got %v", err)
	}
}

// A server may answer before it has read all of a large header, and read no more of it.
func TestAnAnswerToHalfOfALargeHeader(t *testing.T) {
	listener := proxytest.ListenUnix(t)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 431 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			t.Cleanup(func() { c.Close() })
		}
	}()
	transport := New(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", listener.Addr().String())
	}})
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Large", strings.Repeat("x", 900_000))
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); res.StatusCode != 431 || string(body) != "big" || err != nil {
		t.Errorf("the answer is %d %q, %v", res.StatusCode, body, err)
	}
}
