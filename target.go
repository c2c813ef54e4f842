package proxyos

import (
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// target is an upstream of a group, with the lane to it.
type target struct {
	*lane            // nil if the route's transport is not http
	backend  backend // only its dial address and scheme are known of an upstream from a dynamic source
	upstream *reverseproxy.Upstream
	group    *group                 // nil for an upstream from a dynamic source
	counts   *upstreamState         // nil for an upstream from a dynamic source
	measures *upstreamMeasures      // nil if upstream_metrics is off, and for an upstream from a dynamic source
	before   *reverseproxy.Upstream // in the config before this one, which has its health; nil if there is none
	stop     *expressStop           // nil if the route has no short way
	gate     *gate                  // nil if the address may stand for several servers, or a request decides its name

	isRepeat  bool        // an earlier one of the group has the same address, and so the same counts
	late      bool        // the address is settled by each request, or may change
	unhealthy atomic.Bool // an active health check says so

	unhealthySince atomic.Int64 // in Unix nanoseconds; of no use while it is healthy

	results *results // how attempts have ended; nil if nothing is ejected

	set atomic.Pointer[upstreamOverride] // what is set for it at run time and in force; nil if nothing is
}

// isDrained tells whether the upstream gets no new requests because somebody said so.
func (at *target) isDrained() bool {
	o := at.set.Load()
	return o != nil && o.Drained
}

// weight returns the weight in force.
func (at *target) weight() int {
	if o := at.set.Load(); o != nil && o.Weight != nil {
		return *o.Weight
	}
	return at.backend.weight
}

// direct directs a request to the lane.
func (at *target) direct(req *http.Request) {
	req.URL.Scheme = at.urlScheme
	if at.names != nil {
		at.names.direct(req)
	}
}

// roundTrip sends a request over the lane.
func (at *target) roundTrip(req *http.Request) (*http.Response, error) {
	way := at.requests
	if len(req.Header["Upgrade"]) > 0 {
		way = at.upgrades
	}
	if at.gate != nil {
		return at.gate.roundTrip(way, req)
	}
	return attempt(way, req)
}

// checkAddress returns the address that Caddy's active health checks name an upstream by:
// the one that they check, at another port if one is written for them. It is empty for an
// address that they cannot check.
func checkAddress(dial string, checks *reverseproxy.ActiveHealthChecks) string {
	known, err := caddy.ParseNetworkAddress(caddy.NewReplacer().ReplaceKnown(dial, ""))
	switch {
	case err != nil:
		return ""
	case checks.Port != 0:
		known.StartPort, known.EndPort = uint(checks.Port), uint(checks.Port)
	case known.IsUnixNetwork(), known.IsFdNetwork():
		return "localhost"
	}
	return known.JoinHostPort(0)
}
