package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// plan is what a Handler means: its groups with the meaning of each upstream settled, the
// lanes to them, and Caddy's reverse proxy as it is to be provisioned. Loading builds a
// route from it and explain prints it, so that no rule is written twice. Making one loads
// no module and touches nothing outside.
type plan struct {
	name       string
	production *groupPlan
	staging    *groupPlan // nil if there is none
	percent    float64    // for staging
	fallback   bool
	sticky     *Sticky
	when       forcedConfig
	release    *Release // nil if there is none
	addresses  routeOptions

	base         *reverseproxy.HTTPTransport // the route's transport as written; nil if nothing is
	ownTransport bool                        // it is not http: it speaks its own way to every upstream
	proxy        *reverseproxy.Handler       // as written, with our defaults; without our guests
	written      writtenFields               // of proxy
	openFor      time.Duration               // how long the route's breaker is open; 0 where passive checks do its work
	retryBuffer  int                         // how much of a body is kept for a retry
	slowStart    time.Duration               // how long an upstream that comes back warms up; 0 if it does not
	eject        *Eject                      // nil if nothing is ejected
	retryBudget  *RetryBudget                // nil: the default one, for our own retries
	keptOff      []string                    // why there is no short way; none if there is
	slowBy       string                      // what turns the fast ways off, a fast lane and the short way; empty if nothing does
	measured     bool                        // whether upstream_metrics is on
}

// newPlan works out what a handler means. If something is wrong with the handler, the plan
// is as far as it got.
func newPlan(h *Handler, defaults routeDefaults) (*plan, error) {
	p := &plan{
		name:        h.Name,
		fallback:    h.StagingFallback == nil || *h.StagingFallback,
		sticky:      h.Sticky,
		when:        forcedConfig{StagingWhen: h.StagingWhen, ProductionWhen: h.ProductionWhen},
		release:     h.Release,
		addresses:   routeOptions{httpsPorts: defaults.httpsPorts, skipTLSVerify: h.SkipTLSVerify},
		proxy:       new(reverseproxy.Handler),
		retryBuffer: defaultRetryBuffer,
		written:     h.ReverseProxy,
		measured:    defaults.measured,
	}
	switch {
	case h.FastPath != nil && !*h.FastPath:
		p.slowBy = "the route's `fast_path off`"
	case h.FastPath == nil && !defaults.fastPath:
		p.slowBy = "the global `fast_path off`"
	}
	if h.RetryBuffer != nil {
		p.retryBuffer = int(*h.RetryBuffer)
	}
	p.slowStart, p.eject, p.retryBudget = time.Duration(h.SlowStart), h.Eject, h.RetryBudget
	if h.TrafficSplit != nil {
		p.percent = *h.TrafficSplit
	}
	if h.mistake != nil {
		return p, h.mistake
	}
	if err := h.checkOptions(); err != nil {
		return p, err
	}
	if err := p.readTransport(); err != nil {
		return p, fmt.Errorf("transport: %w", err)
	}
	if p.ownTransport && p.eject != nil {
		return p, errEjectTransport
	}
	if p.ownTransport && p.retryBudget != nil {
		return p, errBudgetTransport
	}
	if err := p.readProxy(); err != nil {
		return p, err
	}
	if err := p.planGroups(h); err != nil {
		return p, err
	}
	if err := checkMeanings(defaults.elsewhere, p.groups()...); err != nil {
		return p, err
	}
	p.setDefaults()
	p.keptOff = p.keptOffExpress() // before loading, which takes out what it has loaded
	return p, nil
}

// groups returns those that have been planned: production, and staging if there is one.
func (p *plan) groups() []*groupPlan {
	return slices.DeleteFunc([]*groupPlan{p.production, p.staging}, func(g *groupPlan) bool { return g == nil })
}

// readTransport finds out whether the route's transport is http, and what it says.
func (p *plan) readTransport() error {
	raw, given := p.written["transport"]
	if !given {
		return nil
	}
	fields, err := decodeObject(raw)
	if err != nil {
		return err
	}
	var protocol string
	if err := json.Unmarshal(fields["protocol"], &protocol); err != nil {
		return errors.New("it has no protocol; write {\"protocol\": \"http\", …}")
	}
	if protocol != "http" {
		p.ownTransport = true
		p.proxy.TransportRaw = raw
		p.addresses.httpsPorts = nil // what a port means is the transport's affair
		return nil
	}
	delete(fields, "protocol")
	p.base = new(reverseproxy.HTTPTransport)
	if err := caddy.StrictUnmarshalJSON(encode(fields), p.base); err != nil {
		return err
	}
	p.addresses.tls = p.base.TLS
	p.addresses.cleartextH2 = slices.Contains(p.base.Versions, "h2c")
	return nil
}

// readProxy decodes the other fields of reverse_proxy, strictly and one by one, so that an
// error can name the field.
func (p *plan) readProxy() error {
	for _, name := range slices.Sorted(maps.Keys(p.written)) {
		if name == "transport" {
			continue
		}
		if err := caddy.StrictUnmarshalJSON(encode(object{name: p.written[name]}), p.proxy); err != nil {
			if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && mismatch.Field == name && mismatch.Type.Kind() == reflect.Struct {
				err = errNotObject(p.written[name])
			}
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	p.proxy.CBRaw = dropNull(p.proxy.CBRaw)
	return nil
}

// planGroups settles production and staging. Their policies and dynamic sources are the
// groups' and no longer the reverse proxy's.
func (p *plan) planGroups(h *Handler) error {
	config := Group{Upstreams: h.Upstreams, DynamicUpstreamsRaw: p.proxy.DynamicUpstreamsRaw}
	p.proxy.DynamicUpstreamsRaw = nil
	if lb := p.proxy.LoadBalancing; lb != nil {
		config.LoadBalancing = &GroupLoadBalancing{SelectionPolicyRaw: dropNull(lb.SelectionPolicyRaw)}
		lb.SelectionPolicyRaw = nil
	}
	p.production = &groupPlan{name: production, config: config}
	if err := p.planGroup(p.production); err != nil {
		return err
	}
	if h.Staging != nil {
		p.staging = &groupPlan{name: staging, config: *h.Staging}
		if lb := h.Staging.LoadBalancing; lb != nil {
			policy, err := stagingPolicy(p.production.policy(), lb.SelectionPolicyRaw)
			if err != nil {
				return fmt.Errorf("staging: %w", err)
			}
			p.staging.config.LoadBalancing = &GroupLoadBalancing{SelectionPolicyRaw: policy}
		}
		if err := p.planGroup(p.staging); err != nil {
			return fmt.Errorf("staging: %w", err)
		}
	}
	return nil
}

// planGroup settles the meaning of a group's upstreams and the lanes to them, and rejects
// what does not go together.
func (p *plan) planGroup(g *groupPlan) error {
	config := g.config
	if len(config.Upstreams) == 0 && !g.isDynamic() {
		return errors.New("there is no upstream to send requests to; write one, such as app:3000")
	}
	var err error
	if g.backends, err = resolve(config.Upstreams, config.SkipTLSVerify, p.addresses); err != nil {
		return err
	}
	if i := slices.IndexFunc(g.backends, func(b backend) bool { return p.ownTransport && b.scheme == address.HTTPS }); i >= 0 {
		return fmt.Errorf("upstream %q: the route's transport is not http and has no TLS; write the address without https://", g.backends[i].address)
	}
	if g.policy() != nil && hasOwnWeights(config.Upstreams) {
		return errors.New("weights belong to the default policy; remove lb_policy, or the weights")
	}
	if g.policy() != nil && p.slowStart > 0 {
		return errors.New("slow_start belongs to the default policy; remove lb_policy, or slow_start")
	}
	if err := checkWeights(g.name, g.backends); err != nil {
		return err
	}
	if p.ownTransport {
		return nil
	}
	for _, b := range g.backends {
		lane, err := p.planLane(b)
		if err != nil {
			return fmt.Errorf("upstream %q: %w", b.address, err)
		}
		g.lanes = append(g.lanes, lane)
	}
	if g.isDynamic() {
		if g.byPort, err = p.planPortLanes(config.SkipTLSVerify); err != nil {
			return fmt.Errorf("dynamic upstreams of %s: %w", g.name, err)
		}
	}
	return nil
}

// hasSeveral tells whether there is another upstream to try where one fails. A dynamic
// source counts as several.
func (p *plan) hasSeveral() bool {
	upstreams := 0
	for _, g := range p.groups() {
		upstreams += len(g.backends)
		if g.isDynamic() {
			upstreams += 2
		}
	}
	return upstreams >= 2
}

// setDefaults completes the reverse proxy where the operator has said nothing.
func (p *plan) setDefaults() {
	for _, g := range p.groups() {
		for _, b := range g.backends {
			p.proxy.Upstreams = append(p.proxy.Upstreams, &reverseproxy.Upstream{Dial: b.dial, MaxRequests: b.maxRequests})
		}
	}
	if p.proxy.LoadBalancing == nil {
		p.proxy.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	if !p.ownTransport {
		p.markHealthChecks()
	}
	retriesAreWritten := p.written.has("load_balancing", "retries") || p.written.has("load_balancing", "try_duration")
	// whoever waits for an upstream that restarts means each retry; and only our own transport can withhold one
	if (retriesAreWritten || p.ownTransport) && p.retryBudget == nil {
		p.retryBudget = &RetryBudget{Off: true}
	}
	if !p.hasSeveral() {
		return
	}
	if !retriesAreWritten {
		p.proxy.LoadBalancing.Retries = defaultRetries
	}
	switch passive := p.passiveChecks(); {
	case passive != nil && !p.written.has("health_checks", "passive", "fail_duration"):
		passive.FailDuration = caddy.Duration(defaultOpenFor)
	case passive == nil && p.ownTransport: // which does not say whose fault a failure is
		if p.proxy.HealthChecks == nil {
			p.proxy.HealthChecks = new(reverseproxy.HealthChecks)
		}
		p.proxy.HealthChecks.Passive = &reverseproxy.PassiveHealthChecks{FailDuration: caddy.Duration(defaultOpenFor)}
	case passive == nil:
		p.openFor = defaultOpenFor
	}
}

// firstAddress returns the address that stands for the route where it has no other mark.
func (p *plan) firstAddress() string {
	for _, g := range p.groups() {
		if len(g.backends) > 0 {
			return g.backends[0].address.String()
		}
	}
	return "of a dynamic source"
}

// passiveChecks returns the passive health checks that are written, or nil.
func (p *plan) passiveChecks() *reverseproxy.PassiveHealthChecks {
	if p.proxy.HealthChecks == nil {
		return nil
	}
	return p.proxy.HealthChecks.Passive
}

// markHealthChecks lets the transport know which upstream an active check is for where the
// check goes to another port or host than the requests do.
func (p *plan) markHealthChecks() {
	checks := p.proxy.HealthChecks
	if checks == nil || checks.Active == nil || checks.Active.Port == 0 && checks.Active.Upstream == "" {
		return
	}
	if checks.Active.Headers == nil {
		checks.Active.Headers = make(http.Header)
	}
	checks.Active.Headers[healthTargetHeader] = []string{"{http.reverse_proxy.active.target_upstream}"}
}

// idleChecks tells whether active health checks are written that check nothing, since Caddy
// checks only upstreams that are not from a dynamic source.
func (p *plan) idleChecks() bool {
	checks := p.proxy.HealthChecks
	return checks != nil && checks.Active != nil && checks.Active.IsEnabled() && len(p.proxy.Upstreams) == 0
}

// unchecked lists the upstreams whose certificates are not checked only because of their
// ports.
func (p *plan) unchecked() []string {
	var addresses []string
	for _, g := range p.groups() {
		addresses = append(addresses, detectedWithoutCheck(g.backends)...)
	}
	return addresses
}
