package proxytest

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Greeting is what Serve answers.
const Greeting = "hello from the laboratory"

// Greet answers with the Greeting.
func Greet(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, Greeting) }

// Serve answers HTTP requests with the Greeting: with TLS, unless config is nil.
func Serve(t testing.TB, listener net.Listener, config *tls.Config) {
	t.Helper()
	StartServer(t, listener, &http.Server{TLSConfig: config})
}

// StartServer runs a server until the test ends: with TLS, if it has a TLSConfig. Without a
// handler, it answers with the Greeting.
func StartServer(t testing.TB, listener net.Listener, server *http.Server) {
	t.Helper()
	if server.Handler == nil {
		server.Handler = http.HandlerFunc(Greet)
	}
	server.ErrorLog = log.New(io.Discard, "", 0) // clients that go away
	go func() {
		if server.TLSConfig != nil {
			_ = server.ServeTLS(listener, "", "")
			return
		}
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() { _ = server.Close() })
}

// ServeSniffing serves HTTPS to clients that begin with a TLS handshake, and answers all
// others with the given bytes.
func ServeSniffing(t testing.TB, listener net.Listener, config *tls.Config, toOthers string) {
	t.Helper()
	secure := &handedListener{conns: make(chan net.Conn), done: make(chan struct{}), addr: listener.Addr()}
	Serve(t, secure, config)
	ServeRaw(t, listener, func(conn net.Conn) {
		const handshake = 0x16
		reader := bufio.NewReader(conn)
		if first, err := reader.Peek(1); err == nil && first[0] == handshake {
			handed := &sniffedConn{Conn: conn, reader: reader, closed: make(chan struct{})}
			select {
			case secure.conns <- handed:
				<-handed.closed
			case <-secure.done:
			}
			return
		}
		_, _ = reader.ReadString('\n')
		_, _ = io.WriteString(conn, toOthers)
	})
}

// sniffedConn is a connection of which the first bytes have been read already.
type sniffedConn struct {
	net.Conn
	reader io.Reader
	once   sync.Once
	closed chan struct{}
}

func (c *sniffedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

func (c *sniffedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// handedListener accepts the connections that it is handed.
type handedListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	addr  net.Addr
}

func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *handedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *handedListener) Addr() net.Addr { return l.addr }
