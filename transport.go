package proxyos

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// transport is the route's guest in its reverse proxy that makes the round trips. To each
// upstream it speaks in that upstream's own way, over a lane.
type transport struct {
	proxy         *reverseproxy.Handler // the route's
	proxyProtocol bool
	breaker       *breaker
	lanes         map[string]*lane // the route's own, by what they have in common; nil if there are none
	certs         *certWatchers
	failures      *diagnostician
	logger        *zap.Logger
	checks        checkTargets       // empty if there are no active health checks
	literal       map[string]*target // those whose address stays as it is, by it; nil if all do
	warnDynamic   sync.Once          // of the first upstream that is unchecked, since none is known at load
	warnUnchecked func(upstreams ...string)
}

// newTransport returns the transport of a route, which must be closed.
func newTransport(r *route, p *plan) *transport {
	return &transport{
		proxy:         r.proxy,
		proxyProtocol: p.base != nil && p.base.ProxyProtocol != "",
		breaker:       r.breaker,
		certs:         &certWatchers{route: r},
		failures:      newDiagnostician(r.title, r.logger),
		logger:        r.logger,
		warnUnchecked: r.warnUnchecked,
	}
}

// load loads the lanes to the upstreams of the groups.
func (t *transport) load(ctx caddy.Context, groups []*group, plans []*groupPlan, shared map[string]*lane) error {
	loader := laneLoader{ctx: ctx, shared: shared, certs: t.certs}
	defer func() { t.lanes = loader.loaded }()
	for i, g := range groups {
		for n, at := range g.targets {
			var err error
			if at.lane, err = loader.load(plans[i].lanes[n]); err != nil {
				return fmt.Errorf("upstream %q: %w", at.backend.address, err)
			}
			if !strings.Contains(at.backend.dial, "{") && at.names == nil {
				at.gate = new(gate)
			}
		}
		if g.dynamic == nil {
			continue
		}
		var err error
		if g.byPort, err = loader.loadByPort(plans[i].byPort); err != nil {
			return fmt.Errorf("dynamic upstreams of %s: %w", g.name, err)
		}
	}
	t.findLiterals(groups)
	if checks := t.proxy.HealthChecks; checks != nil && checks.Active != nil {
		t.checks = newCheckTargets(groups)
	}
	return nil
}

// findLiterals notes which addresses stay as they are, if there are others.
func (t *transport) findLiterals(groups []*group) {
	hasLate := false
	for _, g := range groups {
		for _, at := range g.targets {
			_, settled := at.backend.settledDial()
			at.late = !settled
			hasLate = hasLate || at.late
		}
	}
	if !hasLate {
		return
	}
	t.literal = make(map[string]*target)
	for _, g := range groups {
		for _, at := range g.targets {
			if where, settled := at.backend.settledDial(); settled {
				t.literal[where] = at
			}
		}
	}
}

// close closes idle connections, and lets go of what is remembered of certificates.
func (t *transport) close() error {
	var all []error
	for _, lane := range t.lanes {
		all = append(all, lane.close())
	}
	return errors.Join(append(all, t.certs.release())...)
}

// RoundTrip sends req to the upstream that was chosen for it.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	j := journeyOf(req)
	if j != nil {
		if res, err, known := j.handed.outcome(); known {
			return res, err
		}
	}
	switch {
	case j == nil:
		return t.check(req)
	case j.outcome != nil:
		return nil, stopError{j.outcome}
	}
	at, err := t.targetOf(req, j)
	if err != nil {
		return nil, err
	}
	j.judged = true
	if err := t.checkMeaning(at, req); err != nil {
		return nil, t.refused(j, at, err)
	}
	at.direct(req)
	dropOffer(req.Header)
	began, watch := at.measures.begin(), j.route.latencies.start(&j.body)
	res, err := t.send(j, at, req)
	if err != nil {
		return nil, t.failed(j, at, req, err, watch)
	}
	at.measures.answered(began)
	watch.answered(at.upstream, res.StatusCode)
	j.answered = res.StatusCode
	hasFailed := res.StatusCode >= http.StatusInternalServerError
	if hasFailed {
		j.answer.reckoning.failed = true
	}
	j.group.ejector.observe(at, hasFailed)
	if !t.breaker.isClosed() {
		t.breaker.succeeded(at.backend.dial, res.StatusCode, j.group.ejector != nil)
	}
	if res.StatusCode == http.StatusBadRequest {
		t.failures.examine(at.backend, res)
	}
	return res, nil
}

// send sends req, and sends it again where it may be repeated and the connection that it was
// sent over had ended.
func (t *transport) send(j *journey, at *target, req *http.Request) (*http.Response, error) {
	j.watch(req)
	body := req.Body
	for stale := 0; ; stale++ {
		trip := j.tripOver(at.lane, body)
		if err := j.openBody(req, body, trip); err != nil {
			return nil, err
		}
		j.asked, j.reused, j.conn = at.untraced, false, nil
		j.answering.Store(false)
		res, err := trip.send(at, req)
		if err != nil && j.answering.Load() && j.body.err() == nil {
			err = ofReading(j.conn, err)
		}
		if err == nil || stale == maxStale {
			return res, err
		}
		if fault, _ := j.evidence(req).blame(err); fault != staleFault || !mayRepeat(req, j.route.proxy.LoadBalancing) {
			return nil, err
		}
		if stale == maxStale-1 {
			at.closeIdle()
		}
	}
}

// failed draws the conclusion from a failed attempt. It returns the error that the reverse
// proxy is to have: the upstream's, with a hint, or a stop.
func (t *transport) failed(j *journey, at *target, req *http.Request, err error, watch stopwatch) error {
	dial := at.backend.dial
	fault, status := j.evidence(req).blame(err)
	watch.failed(at.upstream, fault, status)
	switch {
	case fault == upstreamFault:
		j.answer.reckoning.failed = true
	case fault == clientFault && status != statusClientGone, fault == ownFault && status != http.StatusGatewayTimeout:
		j.answer.reckoning.excused = true
	}
	if fault == upstreamFault {
		at.counts.hasTrouble(err)
		if at.counts != nil {
			at.counts.errors.Add(1)
			at.measures.failed(err)
		}
		j.group.ejector.observe(at, true)
		switch {
		case j.route.openFor == 0:
			j.uncounted = true
		case at.late: // another request's address may be that of another server
			t.breaker.abandoned(dial)
		default:
			t.breaker.failed(dial, j.route.openFor)
		}
		err = t.failures.explain(at.backend, err)
		j.failure = err
		return err
	}
	t.breaker.abandoned(dial)
	if fault == staleFault {
		err = t.failures.explainStale(at.backend, err)
	}
	if c := t.logger.Check(zapcore.DebugLevel, "an attempt ended by no fault of the upstream"); c != nil {
		c.Write(zap.String("upstream", at.backend.address.String()), zap.String("route", j.route.title), zap.Int("status", status), zap.Error(err))
	}
	return j.stop(status, err)
}

// checkMeaning rejects an address that was not settled at load where an upstream whose
// address was has it, too, and means something else.
func (t *transport) checkMeaning(at *target, req *http.Request) error {
	if !at.late {
		return nil
	}
	info, _ := reverseproxy.GetDialInfo(req.Context())
	where := dialKey(info.Network, info.Address)
	if other, ok := t.literal[where]; ok && !at.backend.means(other.backend) {
		return errContradiction(at.backend, other.backend, other.group.name, where)
	}
	return nil
}

// refused ends the journey of a request that must not be sent.
func (t *transport) refused(j *journey, at *target, err error) error {
	t.breaker.abandoned(at.backend.dial)
	j.answer.reckoning.excused = true
	t.failures.contradicts(at.backend, err)
	return j.stop(http.StatusBadGateway, err)
}

// dropOffer removes an upgrade to HTTP/2 that a client only offers: the request is served as
// usual.
func dropOffer(header http.Header) {
	if offered := header["Upgrade"]; len(offered) == 1 && strings.EqualFold(offered[0], "h2c") {
		for _, field := range []string{"Upgrade", "Connection", "Http2-Settings"} {
			delete(header, field)
		}
	}
}

// targetOf returns the upstream that was chosen for a request. It never guesses: what is not
// known is not spoken to.
func (t *transport) targetOf(req *http.Request, j *journey) (*target, error) {
	info, ok := reverseproxy.GetDialInfo(req.Context())
	at := j.target
	if !ok || at == nil || at.upstream != info.Upstream {
		return nil, fmt.Errorf("the upstream for the request to %s is not the one that was chosen for it", req.URL.Host)
	}
	if g := j.group; g.byPort != nil && at.counts == nil && g.byPort.unchecked.has(portOf(info.Upstream.Dial)) {
		t.warnDynamic.Do(func() { t.warnUnchecked(info.Upstream.Dial) })
	}
	return at, nil
}

// certificateOf returns the certificate that an upstream whose certificate is not checked
// showed in the latest handshake.
func (t *transport) certificateOf(dial string) (certs.Description, bool) {
	watch, ok := t.certs.byDial[dial]
	if !ok {
		return certs.Description{}, false
	}
	return watch.Latest()
}

// hasNewCertificate tells whether such an upstream has shown another certificate before that.
func (t *transport) hasNewCertificate(dial string) bool {
	watch, ok := t.certs.byDial[dial]
	return ok && watch.HasChanged()
}

// ProxyProtocolEnabled tells the reverse proxy to keep the connections of different
// clients apart.
func (t *transport) ProxyProtocolEnabled() bool { return t.proxyProtocol }

// Interface guards
var (
	_ http.RoundTripper                   = (*transport)(nil)
	_ reverseproxy.ProxyProtocolTransport = (*transport)(nil)
)
