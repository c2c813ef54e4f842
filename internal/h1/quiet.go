package h1

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"
)

// isQuiet tells whether a connection that has been idle can be used: the server has neither
// closed it nor sent anything that nobody asked for.
func (c *conn) isQuiet() bool {
	switch {
	case c.eye == nil:
		return false
	case c.quiet != nil:
		return c.quiet.onlySaysTLS(c.Conn)
	case c.eye.seesAnything():
		return false
	}
	return c.state == nil || hasNothingLeft(c.Conn)
}

// quietConn is a connection below TLS. What comes over it while it is idle may be a matter of TLS
// alone, such as a ticket for the next handshake; or it may be the end, or an answer that nobody
// asked for, and that may have come with the last one already.
type quietConn struct {
	net.Conn
	eye    *eye
	noWait bool
	room   [1]byte
}

// errNothing is that there is nothing to read now. TLS goes on after a timeout.
var errNothing error = &timeoutError{"nothing to read"}

// Read reads, but does not wait in onlySaysTLS.
func (q *quietConn) Read(p []byte) (int, error) {
	if q.noWait && !q.eye.seesAnything() {
		return 0, errNothing
	}
	return q.Conn.Read(p)
}

// NetConn returns the connection inside.
func (q *quietConn) NetConn() net.Conn { return q.Conn }

// onlySaysTLS reads what has come. It tells whether that was a matter of TLS alone.
func (q *quietConn) onlySaysTLS(session net.Conn) bool {
	q.noWait = true
	defer func() { q.noWait = false }()
	n, err := session.Read(q.room[:])
	return n == 0 && err == errNothing
}

// hasNothingLeft tells whether a TLS connection that somebody else has made has nothing to say
// but what it has not received yet.
func hasNothingLeft(session net.Conn) bool {
	_ = session.SetReadDeadline(time.Unix(1, 0))
	n, err := session.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && session.SetReadDeadline(time.Time{}) == nil
}

// keepsDeadlines tells whether reading from a TLS connection ends when its deadline says so. That
// of the http transport of Caddy, with its read_timeout, has its own.
func keepsDeadlines(c net.Conn) bool {
	session, ok := c.(*tls.Conn)
	if !ok {
		return false
	}
	switch session.NetConn().(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// Interface guard
var _ net.Conn = (*quietConn)(nil)
