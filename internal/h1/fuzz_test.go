package h1

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// mark is what a server says of a request that it answers.
const mark = "X-Mark"

// FuzzExchange has two clients share a pool, and a server that answers in random pieces with
// arbitrary bytes after, or instead of, what it should say. Whatever it says in answer to one
// request, no client gets an answer to another one.
func FuzzExchange(f *testing.F) {
	for _, rest := range []string{
		"", "\r\n", "HTTP/1.1 200 OK\r\nX-Mark: evil\r\nContent-Length: 4\r\n\r\nevil", "HTTP/1.1 100 Continue\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nX-Mark: evil\r\n\r\n", "0\r\n\r\n", "HTTP/1.1 408 Request Timeout\r\nX-Mark: evil\r\n\r\n", "\x00\x01\x02",
		"HTTP/1.0 200 OK\r\nX-Mark: evil\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nX-Mark: evil\r\n\r\n",
	} {
		for kind := range byte(6) {
			f.Add(uint64(kind), kind, []byte(rest))
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64, kind byte, rest []byte) { tryExchanges(t, seed, kind, rest) })
}

// tryExchanges has two clients send some requests each.
func tryExchanges(t *testing.T, seed uint64, kind byte, rest []byte) {
	if bytes.Contains(rest, []byte("of ")) {
		return // the marks of the requests themselves
	}
	server := &hostile{seed: seed, kind: kind, rest: rest}
	transport := New(&http.Transport{DialContext: server.dial, DisableCompression: true})
	var clients sync.WaitGroup
	for client := range 2 {
		clients.Go(func() {
			for n := range 3 {
				own := fmt.Sprintf("of %d-%d", client, n)
				method := []string{http.MethodGet, http.MethodPost, http.MethodHead}[(int(kind)+n)%3]
				req, _ := http.NewRequest(method, "http://upstream/", nil)
				req.Header.Set(mark, own)
				res, err := transport.RoundTrip(req)
				if err != nil {
					continue
				}
				if got := res.Header.Get(mark); got != own {
					t.Errorf("the request %q got the answer %q", own, got)
				}
				if body, ok := res.Body.(io.ReadWriteCloser); ok {
					_ = body.Close()
					continue
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if bytes.Contains(body, []byte("of ")) && !bytes.Contains(body, []byte(own)) && !strings.HasPrefix(own, string(body)) {
					t.Errorf("the request %q got the body %q", own, body)
				}
			}
		})
	}
	clients.Wait()
	transport.CloseIdleConnections()
}

// hostile is a server of which each answer is marked as that of its request, and followed by the
// same bytes.
type hostile struct {
	seed uint64
	kind byte
	rest []byte
}

// dial returns a connection to the server: a pair of sockets, so that it can be looked at.
func (h *hostile) dial(context.Context, string, string) (net.Conn, error) {
	client, server, err := socketPair()
	if err != nil {
		return nil, err
	}
	go h.serve(server)
	return client, nil
}

func (h *hostile) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	pieces := rand.New(rand.NewPCG(h.seed, 1))
	received := make([]byte, 4096)
	for {
		n, err := c.Read(received)
		if err != nil {
			return
		}
		req, err := http.ReadRequest(newReader(received[:n]))
		if err != nil {
			return
		}
		own := req.Header.Get(mark)
		field := mark + ": " + own + "\r\n"
		var answer string
		switch h.kind % 6 {
		case 0:
			answer = "HTTP/1.1 200 OK\r\n" + field + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(own), own)
		case 1:
			answer = "HTTP/1.1 200 OK\r\n" + field + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(own), own)
		case 2:
			answer = "HTTP/1.1 204 No Content\r\n" + field + "\r\n"
		case 3:
			answer = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n" + field + "Content-Length: 0\r\n\r\n"
		case 4: // the length is a lie
			answer = "HTTP/1.1 200 OK\r\n" + field + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(own)/2, own)
		case 5:
			answer = "HTTP/1.1 200 OK\r\n" + field + "Transfer-Encoding: chunked\r\n\r\n"
		}
		// as one write or in pieces, but all before the answer can be taken for complete
		whole := []byte(answer + string(h.rest))
		for len(whole) > 0 {
			size := len(whole)
			if end := len(whole) - len(h.rest); end > 1 {
				size = min(size, 1+pieces.IntN(end-1))
				if size >= end-1 {
					size = len(whole)
				}
			}
			if _, err := c.Write(whole[:size]); err != nil {
				return
			}
			whole = whole[size:]
		}
		if h.kind%6 == 5 {
			return
		}
	}
}

// TestManyClientsGetTheirOwnAnswers is a random crowd on one pool of few connections.
func TestManyClientsGetTheirOwnAnswers(t *testing.T) {
	server := proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		own := x.Header.Get(mark)
		random := rand.IntN(20)
		if random == 0 { // before the body has come
			x.Send("HTTP/1.1 413 Too Large\r\n" + mark + ": " + own + "\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_ = x.ReadBody()
		switch random {
		case 1:
			x.Close()
		case 2:
			x.Reset()
		case 3:
			x.Send("HTTP/1.1 200 OK\r\n" + mark + ": " + own + "\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n" + mark + ": evil\r\n\r\n")
		case 4:
			x.Send("HTTP/1.1 200 OK\r\n" + mark + ": " + own + "\r\nContent-Length: 200\r\n\r\nok")
			x.Close()
		default:
			x.Send("HTTP/1.1 200 OK\r\n" + mark + ": " + own + "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	})
	transport := newTransport(t, &http.Transport{MaxConnsPerHost: 5, MaxIdleConnsPerHost: 3, IdleConnTimeout: 2 * time.Millisecond, ResponseHeaderTimeout: time.Second})
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			for n := range 60 {
				own := fmt.Sprintf("%d-%d", client, n)
				ctx, cancel := contextFor(t, n)
				var body io.Reader
				if n%3 == 0 {
					body = struct{ io.Reader }{strings.NewReader(strings.Repeat("x", n*1000))}
				}
				req, _ := http.NewRequestWithContext(ctx, []string{"GET", "POST"}[n%2], "http://"+server.Addr, body)
				req.Header.Set(mark, own)
				res, err := transport.RoundTrip(req)
				if err == nil {
					if got := res.Header.Get(mark); got != own {
						t.Errorf("the request %q got the answer %q", own, got)
					}
					if n%7 != 0 {
						_, _ = io.Copy(io.Discard, res.Body)
					}
					_ = res.Body.Close()
				}
				cancel()
			}
		})
	}
	clients.Wait()
	proxytest.Eventually(t, "all connections are closed or idle, and then closed", func() bool {
		transport.CloseIdleConnections()
		transport.pool.mu.Lock()
		defer transport.pool.mu.Unlock()
		return len(transport.pool.hosts) == 0 && transport.pool.idle == 0
	})
}
