package proxyos

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/latency"
)

func init() {
	caddy.RegisterModule(new(LeastLatency))
}

// LeastLatency is a selection policy for proxyos and reverse_proxy. Of two available upstreams
// that are taken at random, a request goes to the one with the lower cost: the time that it has
// taken to answer, times the requests that it has in flight and the new one.
//
// The time is from sending a request to the header of its answer, without waiting for the client's
// body. Of each upstream, an average is kept. A longer time replaces it at once, a shorter one takes
// it down by an eighth of the difference, and while nothing is sent to the upstream it decays as
// `decay` says. So an upstream that has been ten times as slow as the others is tried again after
// 2.3 decay times, a hundred times as slow after 4.6. One that was never measured is tried early,
// but not by all requests at once.
//
// A failed attempt and a status of 500 or above count as five times the upstream's average, but at
// most as five times the longest good answer of late of any upstream; as the time that they
// took, if that is longer; and where nobody has answered well yet, as a second. After three in a
// row, the few requests that an upstream has in flight no longer speak for it. So one that fails
// fast attracts nothing, and one failure among many answers does not keep all requests away. A
// request that its client gave up counts for what it took. What else a client did does not count.
//
// Requests in flight are those of all routes, as Caddy counts them. The times are forgotten at a
// reload. It needs about a request per decay time and upstream: with fewer, the times have decayed
// before they are compared, and upstreams are chosen nearly in turns.
//
// Where requests wait on purpose, such as long polls, the time says nothing of an upstream: use
// least_conn there.
//
// Two choices are those of M. Mitzenmacher, "The Power of Two Choices in Randomized Load
// Balancing" (2001). The cost is that of PeakEwma in Twitter's Finagle, which Linkerd has, too. There
// the average only comes down with time. Here it also does with each answer, so that one that was
// late among many is soon forgotten.
type LeastLatency struct {
	// How fast a time is forgotten: after this long, 37 % of it is left. Longer is steadier,
	// shorter notices sooner that an upstream has recovered. From 100ms to 24h. Default: 10s.
	Decay caddy.Duration `json:"decay,omitempty"`

	times answerTimes
}

// Limits of LeastLatency.Decay.
const (
	defaultDecay = 10 * time.Second
	minDecay     = 100 * time.Millisecond
	maxDecay     = 24 * time.Hour
)

// CaddyModule returns the Caddy module information.
func (*LeastLatency) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.least_latency",
		New: func() caddy.Module { return new(LeastLatency) },
	}
}

// leastLatencyBlock is what the policy takes.
var leastLatencyBlock = block[LeastLatency]{
	{"decay <duration>", once, readDecay},
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	least_latency {
//	    # what leastLatencyBlock lists
//	}
func (l *LeastLatency) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the policy
	if d.NextArg() {
		return d.Errf("least_latency takes a block, not %q", d.Val())
	}
	return leastLatencyBlock.parse(newParser(httpcaddyfile.Helper{Dispenser: d}, "least_latency"), l)
}

func readDecay(p *parser, l *LeastLatency) error {
	if err := p.duration(&l.Decay, "10s"); err != nil {
		return err
	}
	if err := checkDecay(time.Duration(l.Decay)); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

func checkDecay(decay time.Duration) error {
	if decay < minDecay || decay > maxDecay {
		return fmt.Errorf("decay: %v is outside 100ms to 24h; write a duration such as 10s", decay)
	}
	return nil
}

// timedHandler is a handler that can tell how long its upstreams take.
type timedHandler interface {
	// tellLatencies has each attempt told to a policy from now on.
	tellLatencies(to *answerTimes)
}

// Provision has the handler that the policy is for tell how long its upstreams take.
func (l *LeastLatency) Provision(ctx caddy.Context) error {
	if l.Decay == 0 {
		l.Decay = caddy.Duration(defaultDecay)
	}
	l.times.start(time.Duration(l.Decay))
	for _, module := range slices.Backward(ctx.Modules()) {
		switch handler := module.(type) {
		case timedHandler:
			handler.tellLatencies(&l.times)
			return nil
		case *reverseproxy.Handler:
			return watchTransport(ctx, handler, &l.times)
		}
	}
	ctx.Logger().Warn("least_latency is not told how long upstreams take, and goes only by their requests in flight; use it in proxyos or reverse_proxy")
	return nil
}

// Validate rejects a decay that makes no sense.
func (l *LeastLatency) Validate() error { return checkDecay(time.Duration(l.Decay)) }

// Select picks the better one of two available upstreams, or the only one, or nil if there is
// none.
func (l *LeastLatency) Select(pool reverseproxy.UpstreamPool, _ *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	one, other := twoOf(pool)
	if one == nil {
		return nil
	}
	first, second := l.times.of(pool, one, other)
	if other == nil {
		return one
	}
	var now latency.Moment // which need not be known otherwise
	if !first.IsKnown() || !second.IsKnown() {
		now = l.times.now()
	}
	chosen := one
	if !l.times.group.Prefers(latency.Choice{Server: first, InFlight: one.NumRequests()}, latency.Choice{Server: second, InFlight: other.NumRequests()}, now) {
		chosen, first = other, second
	}
	if !first.IsKnown() {
		first.Ask(now)
	}
	return chosen
}

// draws is how often an upstream is taken at random before looking at all of them: enough to find
// two available ones, in 99 of 100 cases, where half of many are down.
const draws = 10

// twoOf takes two available upstreams at random, in a random order. other is nil if there is only
// one, and both are if there is none.
func twoOf(pool reverseproxy.UpstreamPool) (one, other *reverseproxy.Upstream) {
	if len(pool) > 1 {
		for range draws {
			upstream := pool[rand.IntN(len(pool))]
			switch {
			case upstream == one || !upstream.Available():
			case one == nil:
				one = upstream
			default:
				return one, upstream
			}
		}
	}
	one, available := nil, 0
	for _, upstream := range pool {
		if !upstream.Available() {
			continue
		}
		available++
		if available == 1 {
			one = upstream
			continue
		}
		switch place := rand.IntN(available); { // as reservoir sampling does
		case available == 2 && place == 0:
			one, other = upstream, one
		case available == 2, place == 1:
			other = upstream
		case place == 0:
			one = upstream
		}
	}
	return one, other
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LeastLatency)(nil)
	_ caddy.Validator       = (*LeastLatency)(nil)
	_ caddyfile.Unmarshaler = (*LeastLatency)(nil)
	_ reverseproxy.Selector = (*LeastLatency)(nil)
)
