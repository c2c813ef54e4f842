package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is a connection to a server. It is used by one exchange at a time.
type conn struct {
	net.Conn
	pool  *pool
	where key
	state *tls.ConnectionState // nil without TLS
	eye   *eye                 // nil if one cannot look at the connection
	quiet *quietConn           // below TLS; nil without

	reused     bool  // it has been idle
	counted    bool  // it has a place in the pool, which guards this
	left       int64 // how much may be read
	maxHeader  int64
	sawEnd     bool                  // nothing more comes
	wrote      atomic.Bool           // something was sent in this exchange
	cannotSend atomic.Bool           // writing failed
	cause      atomic.Pointer[error] // why it was closed in the middle of an exchange

	idleAt       time.Time // these are the pool's, too
	older, newer *conn
}

// Read reads as much as may be read.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("read limit of %d bytes exhausted", c.maxHeader)
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		c.sawEnd = true
	}
	c.left -= int64(n)
	return n, err
}

// limitHeader has Read read no more than a header may have; limitNothing ends that.
func (c *conn) limitHeader()  { c.left = c.maxHeader }
func (c *conn) limitNothing() { c.left = math.MaxInt64 }

// Write writes, and notes whether anything was sent.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.wrote.Store(true)
	}
	if err != nil {
		c.cannotSend.Store(true)
	}
	return n, err
}

// abort closes the connection in the middle of an exchange, which fails with the cause.
func (c *conn) abort(cause error) {
	c.cause.CompareAndSwap(nil, &cause)
	c.close()
}

// aborted returns the cause, or nil.
func (c *conn) aborted() error {
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// close closes the connection, and gives up its place in the pool.
func (c *conn) close() {
	_ = c.Conn.Close()
	c.pool.release(c)
}

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

// handshake returns the connection with TLS on it.
func (t *Transport) handshake(ctx context.Context, c net.Conn, where key) (*tls.Conn, *quietConn, error) {
	config := &tls.Config{}
	if t.tlsConfig != nil {
		config = t.tlsConfig.Clone()
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(where.address())
		if err != nil {
			_ = c.Close()
			return nil, nil, err
		}
		config.ServerName = host
	}
	if where.onlyHTTP1 {
		config.NextProtos = nil
	}
	var quiet *quietConn
	if eye := newEye(c); eye != nil {
		quiet = &quietConn{Conn: c, eye: eye}
		c = quiet
	}
	session := tls.Client(c, config)
	limited := ctx
	if t.handshakeLimit != 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, t.handshakeLimit)
		defer cancel()
	}
	err := traced(ctx, session, func() error { return session.HandshakeContext(limited) })
	if err != nil {
		_ = c.Close()
		if limited.Err() != nil && ctx.Err() == nil {
			err = handshakeTimeout{}
		}
		return nil, nil, err
	}
	return session, quiet, nil
}

// Interface guards
var (
	_ net.Conn      = (*conn)(nil)
	_ net.Conn      = (*quietConn)(nil)
	_ io.ReadWriter = (*conn)(nil)
)
