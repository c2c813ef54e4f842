package proxyos

import (
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
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

// maxStale is how many connections an attempt may meet that ended while they were idle. Before
// the last time, those that are idle are closed, so that it is over a new one.
const maxStale = 2

// mayRepeat tells whether a request that may have been acted upon can be sent again, as
// reverse_proxy has it.
func mayRepeat(req *http.Request, lb *reverseproxy.LoadBalancing) bool {
	if len(lb.RetryMatch) == 0 {
		return req.Method == http.MethodGet
	}
	repl := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.reverse_proxy.is_transport_error", true)
	defer repl.Delete("http.reverse_proxy.is_transport_error")
	matches, err := lb.RetryMatch.AnyMatchWithError(req)
	return matches && err == nil
}

// mightRepeat is mayRepeat before anything has happened that retry_match could ask for.
func mightRepeat(req *http.Request, lb *reverseproxy.LoadBalancing) bool {
	return req.Method == http.MethodGet || len(lb.RetryMatch) > 0
}

// failureStatus is the status that reverse_proxy answers with where an upstream failed.
func failureStatus(err error) int {
	if netErr, ok := err.(net.Error); ok && netErr.Timeout() { //nolint:errorlint // as it does
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}
