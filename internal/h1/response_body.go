package h1

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// responseBody is the body of an answer. Before a read tells of its end, the connection is there
// for the next request.
type responseBody struct {
	x     *exchange
	inner io.ReadCloser
	keep  bool // the connection, if all goes well

	mu     sync.Mutex
	closed bool
	ended  error // by what
}

// Read reads.
func (b *responseBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	closed, ended := b.closed, b.ended
	b.mu.Unlock()
	if closed {
		return 0, errClosedBody
	}
	if ended != nil {
		return 0, ended
	}
	n, err := b.inner.Read(p)
	if err != nil {
		err = b.end(err)
	}
	return n, err
}

// end ends the exchange once, with the body.
func (b *responseBody) end(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended != nil {
		return b.ended
	}
	switch cause := b.x.c.aborted(); {
	case b.closed:
	case err == io.EOF:
		b.x.end(b.keep)
	default:
		b.x.breakOff()
		if cause != nil {
			err = cause
		}
	}
	b.ended = err
	return err
}

// Close closes the connection, unless the body was read to its end.
func (b *responseBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.ended == nil {
		b.x.breakOff()
	}
	return nil
}

// gzipReaders are readers that nobody uses.
var gzipReaders sync.Pool

// gzipBody is a body that the caller has not asked to be compressed.
type gzipBody struct {
	body   *responseBody
	reader *gzip.Reader
	ended  error
}

// uncompress has the caller read the answer uncompressed.
func uncompress(res *http.Response, body *responseBody) {
	res.Body = &gzipBody{body: body}
	res.Header.Del("Content-Encoding")
	res.Header.Del("Content-Length")
	res.ContentLength = -1
	res.Uncompressed = true
}

// Read reads and uncompresses.
func (g *gzipBody) Read(p []byte) (n int, err error) {
	g.body.mu.Lock()
	closed := g.body.closed
	g.body.mu.Unlock()
	switch {
	case closed:
		return 0, errClosedBody
	case g.ended != nil:
		return 0, g.ended
	case g.reader == nil:
		g.reader, err = newGzipReader(g.body)
	}
	if err == nil {
		n, err = g.reader.Read(p)
	}
	if err != nil {
		g.ended = err
		if g.reader != nil {
			gzipReaders.Put(g.reader)
			g.reader = nil
		}
	}
	return n, err
}

func newGzipReader(r io.Reader) (*gzip.Reader, error) {
	if used, ok := gzipReaders.Get().(*gzip.Reader); ok {
		return used, used.Reset(r)
	}
	return gzip.NewReader(r)
}

// Close closes the body.
func (g *gzipBody) Close() error { return g.body.Close() }

// upgradedConn is the body of an answer that switches to another protocol: the connection.
type upgradedConn struct {
	io.ReadWriteCloser
	early *bufio.Reader // has what came with the answer, until that is read
}

// Read reads.
func (u *upgradedConn) Read(p []byte) (int, error) {
	if u.early == nil {
		return u.ReadWriteCloser.Read(p)
	}
	n, err := u.early.Read(p[:min(len(p), u.early.Buffered())])
	if u.early.Buffered() == 0 {
		u.early = nil
	}
	return n, err
}

// CloseWrite ends the sending, and not the receiving.
func (u *upgradedConn) CloseWrite() error {
	if half, ok := u.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("CloseWrite: %w", errors.ErrUnsupported)
}

// Interface guards
var (
	_ io.ReadCloser      = (*responseBody)(nil)
	_ io.ReadCloser      = (*gzipBody)(nil)
	_ io.ReadWriteCloser = (*upgradedConn)(nil)
)
