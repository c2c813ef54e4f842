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

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http/httpguts"
)

const (
	// defaultRetryBuffer is how much of a request's body is kept for a retry.
	defaultRetryBuffer = 64 << 10

	// maxKept is how much is kept for all requests of a route together that are under way.
	maxKept = 16 << 20

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
	length   int64           // as the client has announced it; -1 if it has not, or if nobody asks
	proto    int             // the major version of HTTP that the client speaks
	buffered bool            // what is left of it is all of it to the reverse proxy, which reads it first
	over     <-chan struct{} // closed when the request is over
	trailer  http.Header     // which its end completes; nil if nothing was announced
	came     atomic.Int64    // how much has been read
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
	req.Body = b
	if len(req.Trailer) > 0 {
		b.trailer, req.Trailer = req.Trailer, maps.Clone(req.Trailer)
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

	// errBodyShort says that a client has sent less than it had announced.
	errBodyShort = fmt.Errorf("the request's body ends before its announced length; its client has not sent the rest, unless another handler has read that: %w", io.ErrUnexpectedEOF)
)

// Read reads from the client. A body that ends too early has failed.
func (b *clientBody) Read(p []byte) (int, error) {
	began := time.Now()
	b.since.Store(began.UnixNano())
	b.mu.Lock()
	n, err := b.ReadCloser.Read(p)
	b.came.Add(int64(n))
	if err != nil {
		err = b.end(err)
	}
	b.mu.Unlock()
	b.waited.Add(int64(time.Since(began)))
	b.since.Store(0)
	if err == io.EOF {
		b.wholeAt.CompareAndSwap(0, time.Now().UnixNano())
	}
	if err != nil && err != io.EOF && !isClosedHere(err) {
		b.failure.CompareAndSwap(nil, &err)
	}
	return n, err
}

// end returns what the end of a body means: that it was whole, if it is io.EOF; that the server has taken the
// rest, if it is http.ErrBodyReadAfterClose; or that it has failed.
//
// Where a client sends no more, the server says so over HTTP/1 and HTTP/2, and over HTTP/3 the body just ends.
func (b *clientBody) end(err error) error {
	isShort := err == io.EOF && b.came.Load() < b.length
	switch {
	case !isShort && !isClosedHere(err):
		return err
	case b.proto < 2 && b.answered.Load():
		return b.endAfterAnswer(err)
	case isShort && b.proto >= 3 && (!b.buffered || b.came.Load() > 0):
		return errBodyShort
	case isShort && b.buffered:
		return err
	}
	return errBodyCut
}

// endAfterAnswer is end where the server may have read the rest: when an answer goes out over HTTP/1, it does that,
// and closes the body at once.
func (b *clientBody) endAfterAnswer(err error) error {
	for deadline := time.Now().Add(lateEnd); err == io.EOF; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errBodyCut
		}
		_, err = b.ReadCloser.Read(make([]byte, 1))
	}
	return err
}

// isClosedHere tells whether a body cannot be read on since it was closed on this side of the connection.
func isClosedHere(err error) bool {
	if errors.Is(err, http.ErrBodyReadAfterClose) {
		return true
	}
	if ended, ok := errors.AsType[*http3.Error](err); ok {
		return !ended.Remote
	}
	return err.Error() == "body closed by handler" // golang.org/x/net/http2 has no name for it
}

// isTaken tells whether the server has taken the rest of the body, as reading it has ended with err.
func (b *clientBody) isTaken(err error) bool {
	return b.proto < 2 && b.answered.Load() && errors.Is(err, http.ErrBodyReadAfterClose)
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

// mayTrail tells whether a field may follow a body. Over HTTP/2 an upstream resets a request that
// has another one, which over HTTP/1.1 it would ignore.
func mayTrail(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name)
}

// keptBody lets several attempts read one body, one after the other. It keeps what has been
// read as long as that is not too much.
//
// Reading the end of the source sets the fields that follow it. An attempt that is over may do that
// while the next one looks at them, or while whoever answers instead does. So each attempt has its
// own, and nobody's are written but by who reads for it.
type keptBody struct {
	source    io.Reader     // as the reverse proxy has it
	from      io.Reader     // what is read
	client    *clientBody   // where that comes from
	trailer   http.Header   // complete when that has ended
	announced http.Header   // what was in it before
	limit     int           // of what is kept
	inAll     *atomic.Int64 // what is kept for all requests

	lost     atomic.Bool // some of what has been read is not kept
	released atomic.Bool

	mu    sync.Mutex // held while anything is read, which may take as long as the client does
	kept  []byte
	read  int   // how much has been read
	ended error // what the source ended with
}

// keepBody returns the body of a request, which nobody has read yet.
func keepBody(req *http.Request, body io.Reader, client *clientBody, inAll *atomic.Int64) *keptBody {
	return &keptBody{source: body, from: body, client: client, trailer: req.Trailer, announced: maps.Clone(req.Trailer), inAll: inAll}
}

// open returns the body, from its beginning, for one attempt. Its end sets the trailer.
func (k *keptBody) open(trailer http.Header) io.ReadCloser {
	return &attemptBody{of: k, trailer: trailer}
}

// release gives up what is kept, without waiting for a read that is under way.
func (k *keptBody) release() {
	k.released.Store(true)
	k.loseReleased()
}

func (k *keptBody) loseReleased() {
	if k.released.Load() && k.mu.TryLock() { // whoever holds it comes by here
		k.lose()
		k.mu.Unlock()
	}
}

// lose gives up what is kept. The lock is held.
func (k *keptBody) lose() {
	k.inAll.Add(int64(-len(k.kept)))
	k.kept = nil
	k.lost.Store(true)
}

// keep keeps what has been read, if there is room. The lock is held.
func (k *keptBody) keep(p []byte) {
	k.read += len(p)
	switch {
	case k.lost.Load() || len(p) == 0:
	case len(k.kept)+len(p) > k.limit, k.inAll.Load()+int64(len(p)) > maxKept:
		k.lose()
	default:
		k.kept = append(k.kept, p...)
		k.inAll.Add(int64(len(p)))
	}
}

// errBodyUsedUp says that an attempt cannot send the request's whole body.
var errBodyUsedUp = errors.New("the request's body has been sent already, in part at least, and is not kept")

// attemptBody is the body as one attempt reads it. Closing it leaves the client's body open,
// which the server closes.
type attemptBody struct {
	of      *keptBody
	trailer http.Header
	at      int
	closed  atomic.Bool
	waiting atomic.Pointer[chan struct{}] // closed with it; nil if nobody waits for that
}

// Read reads what is kept, and then from the client. Where the rest was taken by the server, there is an
// answer, and an error would have the transport break it off. So it waits until that has been read.
func (a *attemptBody) Read(p []byte) (int, error) {
	n, err, isTaken := a.read(p)
	if isTaken {
		a.waitForEnd()
	}
	return n, err
}

// waitForEnd waits until the attempt or the request is over.
func (a *attemptBody) waitForEnd() {
	ended := make(chan struct{})
	a.waiting.Store(&ended)
	if a.closed.Load() {
		return
	}
	select {
	case <-ended:
	case <-a.of.client.over:
	}
}

// read is Read, and tells whether the server has taken the rest.
func (a *attemptBody) read(p []byte) (n int, err error, isTaken bool) {
	k := a.of
	defer k.loseReleased()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case a.closed.Load():
		return 0, http.ErrBodyReadAfterClose, false
	case a.at < len(k.kept):
		n := copy(p, k.kept[a.at:])
		a.at += n
		return n, nil, false
	case a.at < k.read:
		return 0, errBodyUsedUp, false
	case k.ended != nil:
		a.end()
		return 0, k.ended, k.client.isTaken(k.ended)
	}
	n, err = k.from.Read(p)
	k.keep(p[:n])
	a.at += n
	k.ended = err
	a.end()
	return n, err, k.client.isTaken(err)
}

// end sets the fields that follow the body, if it has ended, except for those that must not.
func (a *attemptBody) end() {
	if a.of.ended != io.EOF {
		return
	}
	clear(a.trailer)
	for name, values := range a.of.trailer {
		if mayTrail(name) {
			a.trailer[name] = values
		}
	}
}

// Close ends the attempt's reading, also where a read is under way.
func (a *attemptBody) Close() error {
	a.closed.Store(true)
	if ended := a.waiting.Swap(nil); ended != nil {
		close(*ended)
	}
	return nil
}

// Interface guards
var (
	_ io.ReadCloser = (*clientBody)(nil)
	_ io.ReadCloser = (*attemptBody)(nil)
)
