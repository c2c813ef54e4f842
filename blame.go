package proxyos

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// fault says whose doing it is that an attempt failed. Only an upstream's own counts against
// it: is counted as failed, avoided, logged with a hint, retried elsewhere.
type fault int

const (
	upstreamFault fault = iota // what the upstream did, or the way to it
	clientFault                // what the client did: it left, or its body could not be read, or came too slowly
	ownFault                   // what this proxy did: it could not or must not send the request
	staleFault                 // the connection, which had been used before, ended before an answer
)

// statusClientGone is what Caddy answers where the client has not waited for an answer.
const statusClientGone = 499

// evidence is what is known of a failed attempt, besides its error.
type evidence struct {
	context context.Context // the request's
	body    error           // of reading the client's body; nil if there was none
	slow    bool            // most of the time went by waiting for the client's body, to the end
	asked   bool            // a connection was asked for
	reused  bool            // the one that was used had carried other requests

	answering bool // something of an answer came
}

// blame says whose fault the error of an attempt is, and the status to answer with where it
// is not the upstream's.
func (e evidence) blame(err error) (fault, int) {
	switch ended := e.context.Err(); {
	case ended == nil && (errors.Is(e.body, errBodyCut) || errors.Is(e.body, errBodyOther)):
		return ownFault, http.StatusBadGateway
	case e.body != nil:
		return clientFault, bodyStatus(e.body, ended)
	case errors.Is(ended, context.Canceled):
		return clientFault, statusClientGone
	case ended != nil: // a limit of ours
		return ownFault, http.StatusGatewayTimeout
	case strings.Contains(err.Error(), "request header list larger than peer's advertised limit"):
		return ownFault, http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(err, errBodyUsedUp), errors.Is(err, errBodyOther), hasOtherLength(err):
		return ownFault, http.StatusBadGateway
	case strings.Contains(err.Error(), "too many open files"): // here, or in the whole system
		return ownFault, http.StatusServiceUnavailable
	case isDialError(err): // perhaps of another request, which made the first connection for all
	case e.isUnsendable(err):
		return ownFault, http.StatusBadRequest
	case !e.asked:
		return ownFault, http.StatusBadGateway
	case e.slow && (isEnd(err) || isTimeout(err)): // the upstream was the first to have enough of it
		return clientFault, http.StatusRequestTimeout
	case e.reused && !e.answering && isEnd(err):
		return staleFault, http.StatusBadGateway
	}
	return upstreamFault, 0
}

// bodyStatus is the status for an error of reading a client's body. ended is how the
// request's context has ended, which it also does after a body that ends too early, though
// the client may wait for an answer.
func bodyStatus(err, ended error) int {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	if isTimeout(err) {
		return http.StatusRequestTimeout
	}
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		return handlerErr.StatusCode
	}
	if ended != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return statusClientGone
	}
	return http.StatusBadRequest
}

// isUnsendable tells whether a transport rejects a request for what is in it. Header fields
// are checked before a connection is asked for, and an answer may have invalid ones, too. The
// target and the host are checked on the connection, and HTTP/3 tells of none.
func (e evidence) isUnsendable(err error) bool {
	text := err.Error()
	says := func(part string) bool { return strings.Contains(text, part) }
	return says("invalid request :path") || says("invalid Host header") || says("idna: ") || says("http3: invalid ") ||
		!e.asked && (says("invalid header field") || says("invalid trailer field") || says("invalid method"))
}

// hasOtherLength tells whether a transport rejects a request since its body has another length than it says. A handler
// before the route has changed one of them; clients' bodies are seen to end where they should.
func hasOtherLength(err error) bool {
	text := err.Error()
	return strings.Contains(text, "http: ContentLength=") || strings.Contains(text, "http: Request.ContentLength=") ||
		strings.Contains(text, "request body larger than specified content length")
}

// isEnd tells whether an error is the end of a connection, however it ended.
func isEnd(err error) bool {
	if cause := diagnose.Of(err); cause == diagnose.Closed || cause == diagnose.Reset || errors.Is(err, net.ErrClosed) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "broken connection") || strings.Contains(text, "connection broken: write") || strings.Contains(text, "client connection lost")
}

// isTimeout tells whether an error is that of a limit of time.
func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)
}

// stopError ends a journey: the reverse proxy takes it for the client's leaving, so that it
// neither counts a failure nor tries again. The journey has the answer.
type stopError struct{ error }

// Is makes a stopError one that reverse_proxy knows to stop for.
func (stopError) Is(target error) bool { return target == context.Canceled }
