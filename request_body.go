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

	lost atomic.Bool // some of what has been read is not kept

	mu      sync.Mutex
	changed sync.Cond // something has been read, or an attempt is over
	kept    []byte
	read    int   // how much has been read
	reading bool  // an attempt waits for the client; the others do not, for what is kept
	ended   error // what the source ended with
}

// keepBody returns the body of a request, which nobody has read yet.
func keepBody(req *http.Request, body io.Reader, client *clientBody, inAll *atomic.Int64) *keptBody {
	k := &keptBody{source: body, from: body, client: client, trailer: req.Trailer, announced: maps.Clone(req.Trailer), inAll: inAll}
	k.changed.L = &k.mu
	return k
}

// open returns the body, from its beginning, for one attempt. Its end sets the trailer, and trip is told where it is
// closed while it is read, unless that is nil.
func (k *keptBody) open(trailer http.Header, trip *silentTrip) io.ReadCloser {
	a := &attemptBody{of: k, trailer: trailer, trip: trip}
	if trip != nil {
		a.number = trip.bodyOpened()
	}
	return a
}

// release gives up what is kept.
func (k *keptBody) release() {
	k.mu.Lock()
	k.lose()
	k.mu.Unlock()
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
	trip    *silentTrip
	number  int // of those of the trip
	at      int
	reading atomic.Bool // from the client
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
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
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
		case !k.reading:
			n, err := a.readOn(p)
			return n, err, k.client.isTaken(err)
		}
		k.changed.Wait() // for an attempt that is over, and reads for this one
	}
}

// readOn reads from the client, which may take as long as that does. The lock is held, but not while it reads.
func (a *attemptBody) readOn(p []byte) (int, error) {
	k := a.of
	k.reading = true
	a.reading.Store(true)
	n, err := k.readFrom(p)
	a.reading.Store(false)
	k.reading = false
	k.keep(p[:n])
	k.ended = err
	k.changed.Broadcast()
	if a.closed.Load() { // its trailer is another's, where the transport begins again
		return 0, http.ErrBodyReadAfterClose
	}
	a.at += n
	a.end()
	return n, err
}

// readFrom reads from the client. The lock is held before and after.
func (k *keptBody) readFrom(p []byte) (int, error) {
	k.mu.Unlock()
	defer k.mu.Lock()
	return k.from.Read(p)
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

// Close ends the attempt's reading, except for a read from the client that is under way.
func (a *attemptBody) Close() error {
	a.of.mu.Lock()
	a.closed.Store(true)
	a.of.changed.Broadcast()
	a.of.mu.Unlock()
	if ended := a.waiting.Swap(nil); ended != nil {
		close(*ended)
	}
	if a.trip != nil && a.reading.Load() {
		a.trip.bodyClosed(a.number)
	}
	return nil
}

// Interface guard
var _ io.ReadCloser = (*attemptBody)(nil)
