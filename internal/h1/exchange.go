package h1

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

const (
	// hearOut is how long an answer is waited for when sending the request failed: the server may
	// have answered, with 413, say, and closed the connection before it had the whole request.
	hearOut = 5 * time.Second

	// sentWait is how long the end of the sending is waited for after an answer, so that the
	// connection can be used again.
	sentWait = 50 * time.Millisecond
)

// exchange is one request and its answer on a connection.
type exchange struct {
	transport *Transport
	c         *conn
	req       *http.Request
	body      *requestBody // of the request; nil if it has none
	trace     *httptrace.ClientTrace
	buffers   *buffers
	addedGzip bool
	unwatch   func() bool // ends the watching of the context; nil if it cannot end

	sent    chan struct{} // closed when the request has been sent, or cannot be; nil if that is known before
	sendErr error         // known when sent is closed
	proceed chan bool     // whether to send the body that the server is asked about; nil if it is not

	mu       sync.Mutex
	answered bool
	expired  bool
	timer    *time.Timer // closes the connection if there is no answer
}

// exchange sends a request over a connection, and returns the answer. After an error, the
// connection is closed.
func (t *Transport) exchange(c *conn, req *http.Request, body *requestBody, trace *httptrace.ClientTrace) (*http.Response, error) {
	x := &exchange{transport: t, c: c, req: req, body: body, trace: trace, buffers: t.buffers.get(c)}
	c.wrote.Store(false)
	c.cannotSend.Store(false)
	if ctx := req.Context(); ctx.Done() != nil {
		x.unwatch = context.AfterFunc(ctx, func() { c.abort(context.Cause(ctx)) })
	}
	var ask func() error
	if body != nil && req.ProtoAtLeast(1, 1) && expectsContinue(req) {
		x.proceed = make(chan bool, 1)
		ask = x.awaitContinue
	}
	x.buffers.printer.start(x.extraFields(), body != nil, ask)
	if body != nil || isLarge(req.Header) {
		x.sent = make(chan struct{})
		go func() {
			defer close(x.sent)
			x.send()
		}()
	} else if x.send(); x.sendErr != nil && (!c.cannotSend.Load() || c.reused && !c.wrote.Load()) {
		return nil, x.fail(x.sendErr)
	}
	return x.answer()
}

// safeHeader is how large a header is sent before an answer is listened for. The system takes it
// even if the server reads nothing.
const safeHeader = 16 << 10

// isLarge tells whether the server may answer while a header is still being sent.
func isLarge(header http.Header) bool {
	size := 0
	for name, values := range header {
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	return size > safeHeader
}

// expire closes the connection if there is no answer within the limit; 0 is no limit.
func (x *exchange) expire(limit time.Duration, cause error) {
	if limit <= 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.answered {
		x.timer = time.AfterFunc(limit, func() {
			x.mu.Lock()
			x.expired = !x.answered
			expired := x.expired
			x.mu.Unlock()
			if expired {
				x.c.abort(cause)
			}
		})
	}
}

// stopTimer notes that there is an answer, or that there will be none. It tells whether that is
// in time.
func (x *exchange) stopTimer() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answered = true
	if x.timer != nil {
		x.timer.Stop()
	}
	return !x.expired
}

// fail closes the connection after an error of reading the answer, and returns the error that
// tells best what has happened.
func (x *exchange) fail(err error) error {
	failedFirst := x.hasFailed()
	x.c.close()
	x.unwatchContext()
	x.allowBody(false)
	if x.sent != nil {
		<-x.sent // so that the request is the caller's again
	}
	x.stopTimer()
	cause := x.c.aborted()
	switch {
	case cause != nil:
		return cause
	case x.body != nil && x.body.failure != nil:
		return x.body.failure
	case failedFirst:
		return x.sendErr
	case !x.c.wrote.Load():
		return &unsentError{err}
	}
	return err
}

// hasFailed tells whether sending the request has failed by now.
func (x *exchange) hasFailed() bool {
	if x.sent == nil {
		return x.sendErr != nil
	}
	select {
	case <-x.sent:
		return x.sendErr != nil && x.sendErr != errBodyWithheld //nolint:errorlint // as it is set
	default:
		return false
	}
}

// unwatchContext ends the watching of the context. It tells whether that has not ended.
func (x *exchange) unwatchContext() bool { return x.unwatch == nil || x.unwatch() }

// isSent tells whether the whole request has been sent, or is within a moment.
func (x *exchange) isSent() bool {
	if x.sent == nil {
		return x.sendErr == nil
	}
	select {
	case <-x.sent:
		return x.sendErr == nil
	default:
	}
	timer := time.NewTimer(sentWait)
	defer timer.Stop()
	select {
	case <-x.sent:
		return x.sendErr == nil
	case <-timer.C:
		return false
	}
}

// end ends the exchange after all of the answer. The connection is kept if it is as it was before,
// and closed otherwise.
func (x *exchange) end(keep bool) {
	c, b := x.c, x.buffers
	keep = x.unwatchContext() && keep && !c.sawEnd && x.isSent() && b.reader.Buffered() == 0
	if keep || x.sent == nil {
		x.transport.buffers.put(b)
	}
	if !keep || !x.transport.pool.put(c) {
		c.close()
	}
}

// breakOff ends the exchange before the end of the answer, which somebody may be reading.
func (x *exchange) breakOff() {
	x.unwatchContext()
	x.c.close()
}
