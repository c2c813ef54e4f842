package proxyos

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

const (
	// defaultRetryBuffer is how much of a request's body is kept for a retry.
	defaultRetryBuffer = 64 << 10

	// maxKept is how much is kept for all requests of a route together that are under way.
	maxKept = 16 << 20
)

// clientBody is the body of a client's request. It remembers what went wrong with reading
// it, which is the client's fault, whoever notices.
type clientBody struct {
	io.ReadCloser
	trailer http.Header // of the request; complete when the body has been read
	failure atomic.Pointer[error]
}

// Read reads from the client.
func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		maps.DeleteFunc(b.trailer, func(name string, _ []string) bool { return !mayTrail(name) })
	}
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.failure.CompareAndSwap(nil, &err)
	}
	return n, err
}

// err returns what went wrong, or nil.
func (b *clientBody) err() error {
	if failure := b.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// mayTrail tells whether a field may follow a body. Over HTTP/2 an upstream resets a request that
// has another one, which over HTTP/1.1 it would ignore.
func mayTrail(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name)
}

// keptBody lets several attempts read one body, one after the other. It keeps what has been
// read as long as that is not too much.
type keptBody struct {
	source io.Reader
	limit  int           // of what is kept
	inAll  *atomic.Int64 // what is kept for all requests

	lost     atomic.Bool // some of what has been read is not kept
	released atomic.Bool

	mu    sync.Mutex // held while anything is read, which may take as long as the client does
	kept  []byte
	read  int   // how much has been read
	ended error // what the source ended with
}

// open returns the body, from its beginning, for one attempt.
func (k *keptBody) open() io.ReadCloser { return &attemptBody{of: k} }

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
	of     *keptBody
	at     int
	closed atomic.Bool
}

// Read reads what is kept, and then from the client.
func (a *attemptBody) Read(p []byte) (int, error) {
	k := a.of
	defer k.loseReleased()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case a.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case a.at < len(k.kept):
		n := copy(p, k.kept[a.at:])
		a.at += n
		return n, nil
	case a.at < k.read:
		return 0, errBodyUsedUp
	case k.ended != nil:
		return 0, k.ended
	}
	n, err := k.source.Read(p)
	k.keep(p[:n])
	a.at += n
	k.ended = err
	return n, err
}

// Close ends the attempt's reading, also where a read is under way.
func (a *attemptBody) Close() error {
	a.closed.Store(true)
	return nil
}

// Interface guards
var (
	_ io.ReadCloser = (*clientBody)(nil)
	_ io.ReadCloser = (*attemptBody)(nil)
)
