package proxyos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// How to have a change made that is refused: in the admin API, and by command.
const (
	forceInAPI     = `send "force": true`
	forceByCommand = "write --force"
)

// refuse returns an error if a change of the share would send requests to a group that cannot
// serve any. A change that does not raise that group's share is never refused. The way back to
// production must not depend on what a short while has shown: it is refused only if nothing
// listens there now.
func (r *route) refuse(ctx context.Context, percent float64) error {
	now := r.split.current().percent
	if percent == now || r.staging == nil {
		return nil
	}
	receiving, isIdle := r.staging, now == 0
	if percent < now {
		receiving, isIdle = r.production, now == 100
	}
	reason := ""
	if percent > 0 {
		reason = receiving.whyUnable(ctx, isIdle)
	} else if receiving.dynamic == nil {
		reason = receiving.whyNothingListens(ctx)
	}
	if reason == "" {
		return nil
	}
	return caddy.APIError{
		HTTPStatus: http.StatusConflict,
		Err: fmt.Errorf("route %q stays at %s to staging, since %s cannot serve requests: %s; %s to do it all the same",
			r.name, percentText(now), receiving.name, reason, forceInAPI),
	}
}

// maxNamed is how many upstreams are named in a reason.
const maxNamed = 3

// whyUnable says why the group cannot be expected to serve requests. It is empty if the group
// can; that is not known of dynamic upstreams. Of a group that is idle, little is known: whether
// anything listens there is tried.
func (g *group) whyUnable(ctx context.Context, isIdle bool) string {
	if g.dynamic != nil {
		return ""
	}
	if len(g.targets) == 0 {
		return "it has no upstream"
	}
	reasons, able := make([]string, len(g.targets)), []int(nil)
	for i, t := range g.targets {
		switch state, left := g.stateOf(t), g.breaker.openFor(t.backend.dial); {
		case state == healthDown && left > 0:
			reasons[i] = fmt.Sprintf("is down for another %d s", int(left/time.Second)+1)
		case state != healthUp && state != healthFull:
			reasons[i] = "is " + state
		case t.isDrained():
			reasons[i] = "is drained"
		case t.weight() == 0 && g.policy == nil:
			reasons[i] = "has weight 0"
		default:
			able = append(able, i)
		}
	}
	if len(able) > 0 && (!isIdle || !g.refuseAll(ctx, able)) {
		return ""
	}
	for _, i := range able {
		reasons[i] = "refuses connections"
	}
	return g.named(reasons)
}

// named says what is wrong with which upstream.
func (g *group) named(reasons []string) string {
	var named []string
	for i, reason := range reasons[:min(len(reasons), maxNamed)] {
		named = append(named, printable.Short(g.targets[i].backend.address.String())+" "+reason)
	}
	if more := len(reasons) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("and so on for %d more", more))
	}
	return strings.Join(named, ", ")
}

// whyNothingListens says that nothing listens at any upstream of the group that gets requests. It
// is empty if that is not so.
func (g *group) whyNothingListens(ctx context.Context) string {
	var asked []int
	reasons := make([]string, len(g.targets))
	for i, t := range g.targets {
		if reasons[i] = "is drained"; !t.isDrained() {
			asked, reasons[i] = append(asked, i), "refuses connections"
		}
	}
	if !g.refuseAll(ctx, asked) {
		return ""
	}
	return g.named(reasons)
}

// dialTime is how long to wait for a connection that only shows whether anything listens.
const dialTime = time.Second

// refuseAll tells whether nothing listens at any of some upstreams of the group. What takes long,
// or cannot be known, counts as somebody who listens.
func (g *group) refuseAll(ctx context.Context, some []int) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	answers := make(chan bool, len(some))
	for _, i := range some {
		go func() { answers <- g.targets[i].refuses(ctx) }()
	}
	for range some {
		if !<-answers {
			return false
		}
	}
	return true
}

// refuses tells whether nothing listens at the address of the upstream.
func (at *target) refuses(ctx context.Context) bool {
	dial, settled := at.backend.settledDial()
	if !settled || diagnose.ProxyVariable(at.backend.scheme) != "" {
		return false
	}
	where, err := caddy.ParseNetworkAddress(dial)
	if err != nil || where.IsFdNetwork() {
		return false
	}
	conn, err := new(net.Dialer).DialContext(ctx, where.Network, where.JoinHostPort(0))
	if err == nil {
		conn.Close()
		return false
	}
	cause := diagnose.Of(err)
	return cause == diagnose.Refused || cause == diagnose.NoSocket
}
