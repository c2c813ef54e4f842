package proxytest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// RawServer hands each connection to a function.
type RawServer struct {
	Addr  string
	Conns atomic.Int64 // connections accepted

	listener net.Listener
	serve    func(net.Conn)
	running  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool
}

// NewRawServer is ServeRaw on a free address.
func NewRawServer(t testing.TB, serve func(net.Conn)) *RawServer {
	t.Helper()
	return ServeRaw(t, Listen(t, ""), serve)
}

// ServeRaw hands each connection to a function, and closes it when that returns, until the
// test ends.
func ServeRaw(t testing.TB, listener net.Listener, serve func(net.Conn)) *RawServer {
	t.Helper()
	s := &RawServer{Addr: listener.Addr().String(), listener: listener, serve: serve, open: make(map[net.Conn]bool)}
	t.Cleanup(s.Close)
	s.running.Go(s.accept)
	return s
}

// Close closes the listener and all connections, and waits for the functions that serve
// them.
func (s *RawServer) Close() {
	_ = s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *RawServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.Conns.Add(1)
		s.mu.Lock()
		if s.closed {
			_ = conn.Close()
		}
		s.open[conn] = true
		s.mu.Unlock()
		s.running.Go(func() {
			_ = conn.SetDeadline(time.Now().Add(3 * patience))
			s.serve(conn)
			_ = conn.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.open, conn)
		})
	}
}

// Hang reads and never answers, until the client closes the connection.
func Hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
