package proxyos

import (
	"errors"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Which requests are sent again after a failure is reverse_proxy's to decide, with what is
// here on top:
//
//   - A failed dial, and a TLS handshake that this side ended (handshakeError), may be
//     repeated elsewhere whatever the request: nothing of it was sent.
//   - Anything else only where mayRepeat says so.
//   - What is not the upstream's fault (see blame.go) is not repeated at all; but a connection
//     that ended while it was idle is replaced, and the same upstream asked again.
//   - A body that has been sent in part and is not kept (keptBody) ends it: journey.isUsedUp.

// defaultRetries is how often a request is sent again at most, with two or more upstreams.
const defaultRetries = 2

// maxStale is how many connections an attempt may meet that ended while they were idle.
const maxStale = 3

// mayRepeat tells whether a request that may have been acted upon can be sent again.
func mayRepeat(req *http.Request, lb *reverseproxy.LoadBalancing) bool {
	return req.Method == http.MethodGet || len(lb.RetryMatch) > 0
}

// errBodyUsedUp says that an attempt cannot send the request's whole body.
var errBodyUsedUp = errors.New("the request's body has been sent already, in part at least, and is not kept")

// failureStatus is the status that reverse_proxy answers with where an upstream failed.
func failureStatus(err error) int {
	if netErr, ok := err.(net.Error); ok && netErr.Timeout() { //nolint:errorlint // as it does
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}
