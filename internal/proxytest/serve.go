package proxytest

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
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
	secure, others := SplitTLS(t, listener)
	Serve(t, secure, config)
	ServeRaw(t, others, func(conn net.Conn) {
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = io.WriteString(conn, toOthers)
	})
}

// SplitTLS tells the connections of a listener apart by their first byte: secure accepts
// those that begin with a TLS handshake, others all that begin in any other way. A
// connection that says nothing comes to neither. Both close with the listener.
func SplitTLS(t testing.TB, listener net.Listener) (secure, others net.Listener) {
	t.Helper()
	done := make(chan struct{})
	handed := func() *handedListener {
		return &handedListener{Listener: listener, conns: make(chan net.Conn), done: done}
	}
	toSecure, toOthers := handed(), handed()
	hand := func(conn net.Conn) {
		const handshake = 0x16
		reader := bufio.NewReader(conn)
		first, err := reader.Peek(1)
		to := toOthers
		if err == nil && first[0] == handshake {
			to = toSecure
		}
		if err == nil {
			select {
			case to.conns <- &sniffedConn{Conn: conn, reader: reader}:
				return
			case <-done:
			}
		}
		_ = conn.Close()
	}
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go hand(conn)
		}
	}()
	return toSecure, toOthers
}

// sniffedConn is a connection of which the first bytes have been read already.
type sniffedConn struct {
	net.Conn
	reader io.Reader
}

func (c *sniffedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// handedListener accepts the connections of another one that it is handed.
type handedListener struct {
	net.Listener
	conns chan net.Conn
	done  chan struct{} // closed with the other one
}

func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
