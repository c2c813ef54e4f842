package steering

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// traffic is many clients that send GET requests one after the other, at full speed.
type traffic struct {
	url     string
	stopped atomic.Bool
	clients sync.WaitGroup

	reloading atomic.Bool // see get

	sent    atomic.Int64
	dropped atomic.Int64
	mu      sync.Mutex
	bodies  map[string]int64 // the good answers
	errors  map[string]int   // the others
}

// drive starts clients, which run until stop is called or limit requests have been sent.
func drive(t testing.TB, url string, clients int, limit int64) *traffic {
	f := &traffic{url: url, bodies: make(map[string]int64), errors: make(map[string]int)}
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for range clients {
		f.clients.Go(func() {
			bodies := make(map[string]int64)
			for !f.stopped.Load() && f.sent.Add(1) <= limit {
				f.one(client, bodies)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			for body, n := range bodies {
				f.bodies[body] += n
			}
		})
	}
	t.Cleanup(func() {
		f.stop()
		transport.CloseIdleConnections()
	})
	return f
}

func (f *traffic) one(client *http.Client, bodies map[string]int64) {
	res, err := f.get(client)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", res.StatusCode)
		}
	}
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.errors[err.Error()]++
		return
	}
	bodies[string(body)]++
}

// get sends a request. While Caddy is being reloaded, it sends it again if the connection is
// closed before anything has come back: Go's HTTP server, with stock reverse_proxy just as
// well, reads no request from connections that were accepted as it began to shut down, and
// on Linux those that were waiting to be accepted are reset.
func (f *traffic) get(client *http.Client) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		res, err := client.Get(f.url)
		isClosed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		if !f.reloading.Load() || !isClosed || attempt == 10 {
			return res, err
		}
		f.dropped.Add(1)
	}
}

// stop ends the clients.
func (f *traffic) stop() {
	f.stopped.Store(true)
	f.clients.Wait()
}

// past waits until n requests have been sent.
func (f *traffic) past(t testing.TB, n int64) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); f.sent.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d requests are sent", f.sent.Load(), n)
		}
	}
}

// wantsNoError fails the test if any request failed. The traffic must have ended.
func (f *traffic) wantsNoError(t testing.TB) {
	t.Helper()
	for message, n := range f.errors {
		t.Errorf("%d requests failed: %s", n, message)
	}
}

// answered returns how many requests were answered well.
func (f *traffic) answered() (n int64) {
	for _, count := range f.bodies {
		n += count
	}
	return n
}

// socket is an upgraded connection of a client.
type socket struct {
	*proxytest.RawConn
	group string // the backend that answered the upgrade
}

// echoes lets a backend accept upgrades, and echo what they send with its name before it.
func echoes(t testing.TB, b *backend) { b.Answer(echo(t, b)) }

// echo returns the handler of a backend that does.
func echo(t testing.TB, b *backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, b.Name)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Backend: %s\r\n\r\n", b.Name)
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s:%s", b.Name, line)
		}
	}
}

// openSocket upgrades a connection to the server.
func openSocket(t testing.TB, s *server) *socket {
	t.Helper()
	conn := proxytest.Dial(t, s.Addr)
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	conn.Send("GET / HTTP/1.1\r\nHost: " + s.Addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	res := conn.ReadAnswer(http.MethodGet)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade is answered with %s", res.Status)
	}
	return &socket{conn, res.Header.Get("X-Backend")}
}

// echo sends a message and returns an error unless the same backend echoes it.
func (s *socket) echo(message string) error {
	if _, err := fmt.Fprintln(s.Conn, message); err != nil {
		return err
	}
	line, err := s.Reader.ReadString('\n')
	if want := s.group + ":" + message + "\n"; err == nil && line != want {
		return fmt.Errorf("got %q, want %q", line, want)
	}
	return err
}
