package proxytest

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// RawConn is a client's connection on which a test sends arbitrary bytes.
type RawConn struct {
	net.Conn
	Reader *bufio.Reader // what the server sends

	t testing.TB
}

// Dial connects to host:port, or to a unix socket by its path, until the test ends.
func Dial(t testing.TB, addr string) *RawConn {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return newRawConn(t, conn)
}

// DialTLS connects to host:port with TLS. Without a config, no certificate is checked, and
// the protocol is HTTP/1.1.
func DialTLS(t testing.TB, addr string, config *tls.Config) *RawConn {
	t.Helper()
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	return newRawConn(t, conn)
}

func newRawConn(t testing.TB, conn net.Conn) *RawConn {
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * patience))
	return &RawConn{Conn: conn, Reader: bufio.NewReader(conn), t: t}
}

// Send sends bytes as they are.
func (c *RawConn) Send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("sending %q: %v", text, err)
	}
}

// Answer is what came back for a request.
type Answer struct {
	*http.Response
	Text string // its body
	Err  error  // why the body broke off
}

// ReadAnswer reads the answer to a request of a method: its header, which must come, and
// its body, which may break off. That of a switch of protocols is left in Reader.
func (c *RawConn) ReadAnswer(method string) Answer {
	c.t.Helper()
	res, err := http.ReadResponse(c.Reader, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return Answer{Response: res}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return Answer{Response: res, Text: string(body), Err: err}
}

// ReadAll returns what the server sends until it closes the connection, and the error if
// it ends in another way.
func (c *RawConn) ReadAll() (string, error) {
	received, err := io.ReadAll(c.Reader)
	return string(received), err
}

// CloseWrite tells the server that nothing more will be sent.
func (c *RawConn) CloseWrite() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// Reset ends the connection with a reset, as a client that crashes may.
func (c *RawConn) Reset() { reset(c.Conn) }

// reset ends a connection, with TLS or without, with a reset.
func reset(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
