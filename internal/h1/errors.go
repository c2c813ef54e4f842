package h1

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// ErrHTTP2 says that a server has chosen HTTP/2 when it was offered that and HTTP/1.1. Nothing
// of the request has been sent.
var ErrHTTP2 = errors.New("the server speaks HTTP/2")

// The errors of http.Transport, which has no names for them.
var (
	errHeaderTimeout error = &timeoutError{"net/http: timeout awaiting response headers"}
	errClosedBody          = errors.New("http: read on closed response body")
	errCannotRewind        = errors.New("net/http: cannot rewind body after connection loss")
	errBodyWithheld        = errors.New("the server did not want the body")
)

// timeoutError is that a limit of time was exceeded.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string        { return e.text }
func (e *timeoutError) Timeout() bool        { return true }
func (e *timeoutError) Temporary() bool      { return true }
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// handshakeTimeout is that a TLS handshake took too long.
type handshakeTimeout struct{}

func (handshakeTimeout) Error() string   { return "net/http: TLS handshake timeout" }
func (handshakeTimeout) Timeout() bool   { return true }
func (handshakeTimeout) Temporary() bool { return true }

// unsentError is that nothing of a request was sent.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// unheardError is that a request was sent, and the connection ended before a byte of an answer.
type unheardError struct{ error }

func (e *unheardError) Unwrap() error { return e.error }

// broken is an error that ended a connection in the middle of an exchange.
func broken(err error) error {
	return fmt.Errorf("net/http: HTTP/1.x transport connection broken: %w", err)
}

// plain returns the error as the caller is to see it.
func plain(err error) error {
	if unsent, ok := err.(*unsentError); ok { //nolint:errorlint // the outermost only
		err = unsent.error
	}
	if unheard, ok := err.(*unheardError); ok { //nolint:errorlint // the outermost only
		err = unheard.error
	}
	return err
}

// mayResend tells whether a request may be sent again that failed on a connection which had been
// used before: the server may have closed it just before the request came.
func mayResend(req *http.Request, err error) bool {
	switch err.(type) { //nolint:errorlint // the outermost only
	case *unsentError:
		return outgoingLength(req) == 0 || req.GetBody != nil
	case *unheardError:
		return isReplayable(req)
	}
	return false
}

// isReplayable tells whether sending a request twice does no harm.
func isReplayable(req *http.Request) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

// outgoingLength is the length of the body that is sent, or -1 if it is not known.
func outgoingLength(req *http.Request) int64 {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return 0
	case req.ContentLength != 0:
		return req.ContentLength
	}
	return -1
}
