package proxyos

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// earlyAnswerWait is how long a failed write waits for the answer at most.
const earlyAnswerWait = 5 * time.Second

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// hearingOut makes connections on which an answer is heard before a failed write is. isPlain says that
// they carry HTTP/1 as it is.
func hearingOut(dial dialFunc, isPlain bool) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &patientConn{Conn: conn, isPlain: isPlain, closed: make(chan struct{})}, nil
	}
}

// patientConn is a connection to an upstream that may answer and close before it has been
// sent the whole request: with 413, say, or 401. Then writing the rest fails, while the
// answer is on its way or being read; http.Transport would give up whichever comes second.
// So a write that fails waits until reading has ended, too, or the connection is closed.
//
// Where http.Transport cannot read the answer, which may be malformed or too large, it closes the
// connection. Any error of a write that this ends but io.EOF it takes for one of reading the client's body,
// and tells of that instead. Over HTTP/2 it takes io.EOF for the end of a whole answer, so only writes of
// plain HTTP/1 end with that.
type patientConn struct {
	net.Conn
	isPlain    bool // it carries HTTP/1 as it is
	once       sync.Once
	closed     chan struct{} // closed once there is no answer to wait for
	closedHere atomic.Bool   // before reading ended
}

// Read reads, and notes that there is nothing more to come.
func (c *patientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.once.Do(func() { close(c.closed) })
	}
	return n, err
}

// Write writes, and waits where that fails.
func (c *patientConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		timer := time.NewTimer(earlyAnswerWait)
		defer timer.Stop()
		select {
		case <-c.closed:
		case <-timer.C:
		}
		if c.isPlain && c.closedHere.Load() {
			err = io.EOF
		}
	}
	return n, err
}

// Close closes the connection.
func (c *patientConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// SetWriteDeadline has what is written from now on take no longer. Who closes TLS limits its last word like that,
// before it closes the connection; what that would wait for is over. Nobody else may set one on a connection that
// is in use: Caddy's write_timeout does it below, and HTTP/2 would with http.HTTP2Config.WriteByteTimeout.
func (c *patientConn) SetWriteDeadline(t time.Time) error {
	c.end()
	return c.Conn.SetWriteDeadline(t)
}

// end notes that this side waits for no answer any more.
func (c *patientConn) end() {
	c.once.Do(func() {
		c.closedHere.Store(true)
		close(c.closed)
	})
}

// CloseWrite ends the sending, and not the receiving: one side of an upgraded connection may
// be done before the other.
func (c *patientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// errUnreadable stands for what http.Transport does not tell: why it has closed a connection over TLS.
var errUnreadable = errors.New("the header of the answer cannot be read: it is malformed, or larger than max_response_header")

// ofReading returns the error of an attempt whose answer had begun on conn: that of reading it where err
// only says that writing failed, since the connection had been closed for what was read.
func ofReading(conn net.Conn, err error) error {
	secure, ok := conn.(*tls.Conn)
	if !ok || !errors.Is(err, net.ErrClosed) {
		return err
	}
	if patient, ok := secure.NetConn().(*patientConn); !ok || !patient.closedHere.Load() {
		return err
	}
	if _, end := secure.Read(make([]byte, 1)); end == io.EOF { // which TLS tells of before the connection does
		return err
	}
	return errUnreadable
}

// Interface guard
var _ net.Conn = (*patientConn)(nil)
