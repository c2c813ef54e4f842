package proxyos

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// healthTargetHeader carries the upstream that an active health check is for from the
// health checker to the transport, since health_port and health_upstream hide it. It
// never leaves the transport.
const healthTargetHeader = "Proxyos-Health-Target"

// checkTargets are the targets of active health checks, which are no part of a journey.
type checkTargets struct {
	byUpstream map[*reverseproxy.Upstream]*target
	byDial     map[string]*target // placeholders replaced, for checks of another port or host
}

// newCheckTargets returns the targets of the groups' active health checks.
func newCheckTargets(groups []*group) checkTargets {
	c := checkTargets{byUpstream: make(map[*reverseproxy.Upstream]*target), byDial: make(map[string]*target)}
	for _, g := range groups {
		for _, at := range g.targets {
			c.byUpstream[at.upstream] = at
			c.byDial[caddy.NewReplacer().ReplaceKnown(at.backend.dial, "")] = at
		}
	}
	return c
}

// targetOf returns the upstream that a health check is for. hint is its dial address, if
// the check goes to another port or host.
func (c *checkTargets) targetOf(upstream *reverseproxy.Upstream, hint string) (*target, error) {
	if at, ok := c.byUpstream[upstream]; ok {
		return at, nil
	}
	if at, ok := c.byDial[hint]; ok && hint != "" {
		return at, nil
	}
	return nil, fmt.Errorf("health check of %q: it is not an upstream of the route", upstream.Dial)
}

// check makes the round trip of an active health check.
func (t *transport) check(req *http.Request) (*http.Response, error) {
	info, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok || info.Upstream == nil {
		return nil, fmt.Errorf("health check of %s: no upstream is named", req.URL.Host)
	}
	at, err := t.checks.targetOf(info.Upstream, req.Header.Get(healthTargetHeader))
	if err != nil {
		return nil, err
	}
	if _, ok := req.Header[healthTargetHeader]; ok { // at another port or host, which may be another upstream's
		req = req.Clone(req.Context())
		req.Header.Del(healthTargetHeader)
	} else if err := t.checkMeaning(at, req); err != nil {
		return nil, err
	}
	at.direct(req)
	res, err := at.roundTrip(req)
	if err != nil {
		at.counts.hasTrouble(err)
		return nil, t.failures.explain(at.backend, err)
	}
	at.counts.wasChecked(res.StatusCode)
	if !t.breaker.isClosed() && !t.breaker.isEjected(at.backend.dial) { // what it is asked by a check says little of what clients ask
		t.breaker.succeeded(at.backend.dial, res.StatusCode, false)
	}
	return res, nil
}
