package proxyos

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// reckoning is what one request comes to in the round of a release that it belongs to. It counts
// once: streams and tunnels, such as WebSockets, when they begin, all others at their end.
//
// A request has failed if the client's answer is a 5xx or breaks off. It also has if an attempt
// failed by its upstream's fault, an upstream answered with a 5xx, or production took over from
// staging: then a retry, handle_response or the fallback has hidden it from the client. All of that
// holds for both groups, so that they can be compared.
//
// A request does not count at all if its client left, or if what went wrong was the client's fault
// (clientFault): it says nothing of either group. But where the client left a request that had taken
// longer than production's do, it counts as one that was slow: those of an upstream that hangs never
// end otherwise. Nor does it where this proxy could not or must not
// send the request (ownFault), which befalls both groups alike, and which no release causes. The
// exception is a limit on the time of a request, 504: an upstream that is too slow runs into it. A
// connection that ended while it was idle (staleFault) does count where the client gets the 502:
// an upstream that crashes looks no different.
type reckoning struct {
	round     *releaseRound // nil: the request does not count, or has been counted
	toStaging bool          // was decided

	failed   bool // though the client may not know
	excused  bool // it was the client's fault, or ours
	isTunnel bool // where the answer is a 2xx, since the request asks for one
	isBack   bool // whoever was to write the answer has returned: it did not break off
	isLost   bool // the client could not be written to
}

// begin notes what is decided about a request.
func (r *reckoning) begin(d decision, method string) {
	r.round, r.toStaging = d.round, d.toStaging
	r.isTunnel = method == http.MethodConnect
	if r.round != nil {
		r.round.begin(r.toStaging)
	}
}

// answer counts a stream or a tunnel, whose answer begins.
func (r *reckoning) answer(status int, header http.Header) {
	if r.round == nil {
		return
	}
	switch {
	case status == http.StatusSwitchingProtocols, r.isTunnel && status/100 == 2, isEventStream(header), caddyhttp.IsIncremental(header):
		r.count(status, notTimed)
	}
}

// end counts any other request. The answer was passed on by the route if isPassed, and made by
// whoever deals with its error otherwise. ctx is the client's.
func (r *reckoning) end(ctx context.Context, status int, isPassed bool, took time.Duration) {
	if r.round == nil {
		return
	}
	isWhole := isPassed && r.isBack // whether the client has left since does not matter
	hasLeft := r.isLost || status == statusClientGone || !isWhole && errors.Is(ctx.Err(), context.Canceled)
	switch {
	case r.excused, hasLeft && !r.round.isSlow(took):
		r.round.leaveOut(r.toStaging)
		r.round = nil
		return
	case hasLeft:
		r.count(0, took)
		return
	}
	if !r.isBack {
		r.failed = true
	}
	r.count(status, took)
}

func (r *reckoning) count(status int, took time.Duration) {
	r.round.count(r.toStaging, r.failed || status >= http.StatusInternalServerError, took)
	r.round = nil
}
