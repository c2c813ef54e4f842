package proxyos

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// expressTrip is one request that takes the short way, with its journey. It is the context of
// the request that the upstream gets, which is sent once.
type expressTrip struct {
	context.Context // of the client's request
	journey
	way   *express
	out   *http.Request // for the upstream
	url   url.URL       // its
	trace httptrace.ClientTrace
	to    *expressStop // nil before one is picked

	requests, fails int           // the upstream's, when it was picked
	isCounted       bool          // as one of those that it has in flight
	began           time.Time     // when it was sent
	took            time.Duration // until the end; 0 before
	isAsking        atomic.Bool   // for placeholders that are not provided here

	mu      sync.Mutex // transports call informed, and ask for placeholders, on goroutines of their own
	isBack  bool       // the round trip is over
	res     *http.Response
	latency time.Duration
	passing time.Duration // from the sending to the end of the answer; 0 before
}

// dialInfoKey is the key of the address to dial in a request's context, as Caddy has it.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// informed passes an informational answer on.
func (t *expressTrip) informed(status int, header textproto.MIMEHeader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isBack {
		return nil // the answer itself is being written
	}
	to := t.answer.Header()
	own := to.Clone()
	passed := http.Header(header)
	for name, values := range passed {
		if isHopByHop(name) || isNamed(name, passed) {
			continue
		}
		for _, value := range values {
			to.Add(name, value)
		}
	}
	t.answer.WriteHeader(status)
	clear(to) // which net/http does not do
	maps.Copy(to, own)
	return nil
}

// returned notes the end of the round trip. res is nil if it failed.
func (t *expressTrip) returned(res *http.Response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isBack, t.res, t.latency = true, res, time.Since(t.began)
}

// passed notes that the whole answer has been passed on.
func (t *expressTrip) passed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passing = time.Since(t.began)
}

// end ends a trip that was not handed over, also where the answer broke off.
func (t *expressTrip) end() {
	t.uncount()
	t.took = time.Since(t.started)
}

// uncount takes the request from those that the upstream has in flight.
func (t *expressTrip) uncount() {
	if t.isCounted {
		t.isCounted = false
		t.to.counted.add(-1)
	}
}

// handOver leaves the rest of the journey to reverse_proxy.
func (t *expressTrip) handOver(attempt handedAttempt) *http.Response {
	t.handed = &attempt
	return nil
}

// logged returns what reverse_proxy logs of an attempt.
func (t *expressTrip) logged() []zap.Field {
	return []zap.Field{
		zap.String("upstream", t.to.dialInfo().Upstream.String()),
		zap.Duration("duration", t.latency),
		zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: t.out, ShouldLogCredentials: t.logsCredentials()}),
	}
}

func (t *expressTrip) logsCredentials() bool {
	server := t.Context.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server.Logs != nil && server.Logs.ShouldLogCredentials
}
