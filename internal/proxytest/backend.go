package proxytest

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Backend is a real HTTP server that counts its requests and answers with its name. Changes
// of its fields count from the next Start.
type Backend struct {
	Name      string
	Addr      string      // what to dial: host:port, or the path of a unix socket
	TLS       *tls.Config // nil: cleartext
	Protocols http.Protocols

	Requests atomic.Int64
	Conns    atomic.Int64 // connections accepted

	t       testing.TB
	network string

	server *http.Server

	mu      sync.Mutex
	last    *http.Request
	handler http.HandlerFunc
}

// Plain starts a backend that speaks HTTP/1.1 without TLS. See Listen for the address.
func Plain(t testing.TB, name, addr string) *Backend {
	t.Helper()
	b := newBackend(t, name, addr)
	b.Protocols.SetHTTP1(true)
	b.Start()
	return b
}

// H2C starts a backend that speaks HTTP/2 without TLS, and HTTP/1.1 to those who ask for it.
func H2C(t testing.TB, name, addr string) *Backend {
	t.Helper()
	b := newBackend(t, name, addr)
	b.Protocols.SetHTTP1(true)
	b.Protocols.SetUnencryptedHTTP2(true)
	b.Start()
	return b
}

// Untrusted starts an HTTPS backend with a certificate of an authority that nobody trusts.
func Untrusted(t testing.TB, name, addr string) *Backend {
	t.Helper()
	return SignedBy(t, NewAuthority(t), name, addr)
}

// SignedBy starts an HTTPS backend with a certificate of an authority, for the address's
// host, localhost and any further names.
func SignedBy(t testing.TB, ca *Authority, name, addr string, names ...string) *Backend {
	t.Helper()
	b := newBackend(t, name, addr)
	b.Protocols.SetHTTP1(true)
	b.Protocols.SetHTTP2(true)
	b.TLS = Serving(ca.Issue(t, append(names, b.Addr, "localhost")...))
	b.Start()
	return b
}

// UnixSocket starts a cleartext backend on a unix socket, whose path is its Addr.
func UnixSocket(t testing.TB, name string) *Backend {
	t.Helper()
	b := &Backend{t: t, Name: name, network: "unix", Addr: SocketPath(t)}
	b.Protocols.SetHTTP1(true)
	t.Cleanup(b.Stop)
	b.Start()
	return b
}

// newBackend returns a backend that is not started yet. It has its address already, so that
// it can have a certificate for it.
func newBackend(t testing.TB, name, addr string) *Backend {
	t.Helper()
	listener := Listen(t, addr)
	_ = listener.Close()
	b := &Backend{t: t, Name: name, network: "tcp", Addr: listener.Addr().String()}
	t.Cleanup(b.Stop)
	return b
}

// Start listens on the backend's address. Where another process has it at the moment,
// Start waits for it.
func (b *Backend) Start() {
	b.t.Helper()
	listener := listen(b.t, b.network, b.Addr)
	protocols := b.Protocols // which may be changed for the next start
	server := &http.Server{
		Handler:   http.HandlerFunc(b.serve),
		TLSConfig: b.TLS.Clone(),
		Protocols: &protocols,
		ErrorLog:  log.New(io.Discard, "", 0), // clients that go away
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				b.Conns.Add(1)
			}
		},
	}
	b.server = server
	go func() {
		if server.TLSConfig != nil {
			_ = server.ServeTLS(listener, "", "")
			return
		}
		_ = server.Serve(listener)
	}()
}

// Stop closes the listener and every connection; Start brings the backend back.
func (b *Backend) Stop() {
	if b.server != nil {
		_ = b.server.Close()
		b.server = nil
	}
}

// Answer replaces the handler that answers with the backend's name; nil restores it.
func (b *Backend) Answer(handler http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handler = handler
}

// Last returns the last request that reached the backend, its body read: its protocol,
// host, header and TLS state. Nil if there was none.
func (b *Backend) Last() *http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// ForgetLast makes Last return nil until the next request.
func (b *Backend) ForgetLast() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = nil
}

func (b *Backend) serve(w http.ResponseWriter, r *http.Request) {
	b.Requests.Add(1)
	b.mu.Lock()
	b.last = r
	handler := b.handler
	b.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, b.Name)
}
