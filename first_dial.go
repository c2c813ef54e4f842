package proxyos

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// gate lets one request make the first connection to an upstream, and shares the outcome
// with those that come meanwhile: so a dead upstream is dialled once, not by every request
// that was under way when it died. Once there has been a connection the gate stands open,
// until a dial fails.
type gate struct {
	open  atomic.Bool
	mu    sync.Mutex
	first *firstDial // under way; nil if none is
}

// firstDial is the attempt at the first connection.
type firstDial struct {
	done chan struct{} // closed when the outcome is known
	err  error         // of the dial; nil if there is a connection or another error
}

// gateWait is how long requests wait for the first connection before they make one of
// their own: refusals in a local network are faster, and a slow upstream loses no more.
const gateWait = 100 * time.Millisecond

// roundTrip is RoundTrip of next, through the gate.
func (g *gate) roundTrip(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	if g.open.Load() {
		response, err := attempt(next, req)
		if err != nil && isDialError(err) {
			g.open.Store(false)
		}
		return response, err
	}
	dial, isFirst := g.enter()
	if !isFirst {
		if err := dial.wait(req); err != nil {
			return nil, err
		}
		return attempt(next, req)
	}
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { g.leave(dial, nil) }}
	response, err := attempt(next, req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	g.leave(dial, err)
	return response, err
}

// enter returns the first dial, and whether it is for the caller to make.
func (g *gate) enter() (dial *firstDial, isFirst bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first == nil {
		g.first, isFirst = &firstDial{done: make(chan struct{})}, true
	}
	return g.first, isFirst
}

// leave makes the outcome of the first dial known, if it is not yet.
func (g *gate) leave(dial *firstDial, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first != dial {
		return
	}
	g.first = nil
	if isDialError(err) {
		dial.err = err
	}
	g.open.Store(err == nil)
	close(dial.done)
}

// wait returns the error of the dial, if it fails in time.
func (d *firstDial) wait(req *http.Request) error {
	timer := time.NewTimer(gateWait)
	defer timer.Stop()
	select {
	case <-d.done:
		return d.err
	case <-timer.C:
		return nil
	case <-req.Context().Done():
		return req.Context().Err()
	}
}

func isDialError(err error) bool {
	_, ok := errors.AsType[reverseproxy.DialError](err)
	return ok
}

// handshakeError is an error of a TLS handshake that this side has ended. Nothing of the
// request has been sent by then, so that it is a DialError, too: the reverse proxy may send
// any request elsewhere, not only a GET. A DialError proper would hide the cause.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// As implements the interface that errors.As looks for.
func (e *handshakeError) As(target any) bool {
	dialErr, ok := target.(*reverseproxy.DialError)
	if ok {
		*dialErr = reverseproxy.NewDialError(e.error)
	}
	return ok
}

// attempt is RoundTrip of next, with the errors of handshakes as such.
func attempt(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	response, err := next.RoundTrip(req)
	if err != nil && endsHandshake(err) {
		err = &handshakeError{err}
	}
	return response, err
}

// endsHandshake tells whether an error is that the other side's certificate is refused, or
// that it does not speak TLS. A handshake that the other side refuses may have ended here
// already, and the request may be on its way: with TLS 1.3, if a client certificate is
// demanded.
func endsHandshake(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*certs.PinError](err); ok {
		return true
	}
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok && record.Msg == "first record does not look like a TLS handshake"
}
