package proxyos

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// slowBody is how long a client may keep an attempt waiting for its body until a failure
	// of the attempt may be due to that.
	slowBody = 250 * time.Millisecond

	// lateEnd is how soon after the end of a slow body a failure may still be due to it. Over
	// HTTP/1.1, an attempt whose connection has ended fails when the client sends more.
	lateEnd = 50 * time.Millisecond
)

// clientBody is the body of a client's request. It remembers what went wrong with reading
// it, which is no upstream's fault, whoever notices.
type clientBody struct {
	io.ReadCloser
	mu       sync.Mutex      // held while it is read: an attempt and a route of handle_response may both do that
	length   int64           // as the client has announced it; -1 if it has not
	proto    int             // the major version of HTTP that the client speaks
	buffered bool            // what is left of it is all of it to the reverse proxy, which reads it first
	asItIs   atomic.Bool     // how it ends is for others to judge: another transport, or who comes after the route
	duplex   bool            // its client may send and wait for the answer at the same time
	over     <-chan struct{} // closed when the request is over
	trailer  http.Header     // which its end completes; nil if nothing was announced
	came     atomic.Int64    // how much has been read
	closed   atomic.Bool     // on this side, by whoever has read it, and not by the server
	isCutOff atomic.Bool     // since its answer is broken off
	answered atomic.Bool     // the client's answer has begun
	failure  atomic.Pointer[error]
	waited   atomic.Int64 // how long reading has taken, in nanoseconds
	since    atomic.Int64 // when the read that is under way began, in Unix nanoseconds; 0 if none is
	wholeAt  atomic.Int64 // when it had been read to its end; 0 before
}

// takeOver becomes the body of a request. Attempts read it, and the server completes the trailer where
// they meet its end, which may be while whoever answers instead looks at the request. So the request
// has another trailer from now on, which only those complete that read its body.
func (b *clientBody) takeOver(req *http.Request) {
	b.ReadCloser, b.length, b.proto, b.over = req.Body, req.ContentLength, req.ProtoMajor, req.Context().Done()
	server, _ := req.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	b.duplex = b.proto >= 2 || server != nil && server.EnableFullDuplex
	if len(req.Trailer) > 0 {
		b.trailer = req.Trailer
	}
	b.giveTo(req)
}

// giveTo gives the body to a request, which others may have, too.
func (b *clientBody) giveTo(req *http.Request) {
	req.Body = b
	if b.trailer != nil {
		req.Trailer = maps.Clone(req.Trailer)
		req.Body = &trailedBody{b, req.Trailer}
	}
}

// trailedBody is the body of a request with a trailer of its own, which its end completes.
type trailedBody struct {
	*clientBody
	own http.Header
}

// Read reads from the client.
func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.clientBody.Read(p)
	if err == io.EOF {
		maps.Copy(b.own, b.trailer)
	}
	return n, err
}

var (
	// errBodyCut says that somebody on this side of the connection has read some of a body, or closed it.
	errBodyCut = errors.New("the request's body has been read, in part at least, before it came here: by another handler, or by a placeholder such as {http.request.body}")

	// errBodyOther says that somebody on this side has put another body in its place.
	errBodyOther = errors.New("the request's body has another length than announced: another handler has changed it before it came here")

	// errBodyShort says that a client has sent less than it had announced.
	errBodyShort = fmt.Errorf("the request's body ends before its announced length; its client has not sent the rest, unless another handler has read that: %w", io.ErrUnexpectedEOF)
)

// Read reads from the client. A body that ends too early has failed.
func (b *clientBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	began := time.Now()
	b.since.Store(began.UnixNano())
	n, err := 0, http.ErrBodyReadAfterClose
	if !b.isGone() {
		n, err = b.ReadCloser.Read(p)
	}
	b.came.Add(int64(n))
	switch {
	case b.isLong():
		err = errBodyOther
	case err != nil:
		err = b.end(err)
	}
	b.waited.Add(int64(time.Since(began)))
	b.since.Store(0)
	b.mu.Unlock()
	if err == io.EOF {
		b.wholeAt.CompareAndSwap(0, time.Now().UnixNano())
	}
	if err != nil && err != io.EOF && !isClosedHere(err) && !b.isCutOff.Load() {
		b.failure.CompareAndSwap(nil, &err)
	}
	return n, err
}

// isGone tells whether somebody else has read the body and closed it, unless it was empty. Over HTTP/3 it looks as if it
// had ended then.
func (b *clientBody) isGone() bool {
	wasEmpty := b.wholeAt.Load() != 0 && b.came.Load() == 0
	return b.isCutOff.Load() || b.closed.Load() && !b.asItIs.Load() && !wasEmpty
}

// Close closes the body.
func (b *clientBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// isLong tells whether more has come than was announced, which no server lets a client send. Before a trailer, a body is
// sent without its length.
func (b *clientBody) isLong() bool {
	return b.length >= 0 && b.came.Load() > b.length && b.trailer == nil && !b.buffered && !b.asItIs.Load()
}

// end returns what the end of a body means: that it was whole, if it is io.EOF; that the server has taken the
// rest, if it is http.ErrBodyReadAfterClose; or that it has failed.
//
// Where a client sends no more, the server says so over HTTP/1 and HTTP/2, and over HTTP/3 the body just ends. When an
// answer goes out over HTTP/1, the server reads the rest unless it is told not to, and closes the body, which those who
// wrap it may not tell. A handler that has cut the body is not told from that, nor is a body of unknown length of which
// the server has read a part from one that is whole.
func (b *clientBody) end(err error) error {
	isShort := err == io.EOF && b.came.Load() < b.length
	switch {
	case b.asItIs.Load(), !isShort && !isClosedHere(err):
		return err
	case b.proto < 2 && b.answered.Load() && !b.duplex:
		return http.ErrBodyReadAfterClose
	case isShort && b.ReadCloser == http.NoBody && !b.buffered:
		return errBodyOther
	case isShort && b.proto >= 3 && (!b.buffered || b.came.Load() > 0):
		return errBodyShort
	case isShort && b.buffered:
		return err
	}
	return errBodyCut
}

// isClosedHere tells whether a body cannot be read on since it was closed on this side of the connection.
func isClosedHere(err error) bool {
	if errors.Is(err, http.ErrBodyReadAfterClose) {
		return true
	}
	if reset, ok := errors.AsType[*quic.StreamError](err); ok {
		return !reset.Remote
	}
	return err.Error() == "body closed by handler" // golang.org/x/net/http2 has no name for it
}

// isTaken tells whether the server has taken the rest of the body, as reading it has ended with err.
func (b *clientBody) isTaken(err error) bool {
	return b.proto < 2 && b.answered.Load() && errors.Is(err, http.ErrBodyReadAfterClose)
}

// cutOff ends a read that is under way over HTTP/1, since the server would wait for it before it breaks an answer off.
func (b *clientBody) cutOff(w http.ResponseWriter) {
	b.isCutOff.Store(true)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	for range 100 {
		if b.mu.TryLock() { // it has ended
			b.mu.Unlock()
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// err returns what went wrong, or nil.
func (b *clientBody) err() error {
	if failure := b.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// waiting returns how long the client has been waited for.
func (b *clientBody) waiting() time.Duration {
	waited := time.Duration(b.waited.Load())
	if since := b.since.Load(); since != 0 {
		waited += time.Since(time.Unix(0, since))
	}
	return waited
}

// isComing tells whether there is more to come, or was until just now.
func (b *clientBody) isComing() bool {
	wholeAt := b.wholeAt.Load()
	return wholeAt == 0 || time.Since(time.Unix(0, wholeAt)) < lateEnd
}

// Interface guard
var _ io.ReadCloser = (*clientBody)(nil)
