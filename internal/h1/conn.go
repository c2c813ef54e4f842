package h1

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
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

// Interface guards
var (
	_ net.Conn      = (*conn)(nil)
	_ io.ReadWriter = (*conn)(nil)
)
