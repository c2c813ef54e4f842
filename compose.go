package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/turns"
)

// Defaults for routes with two or more upstreams.
const defaultRetries = 2

var (
	defaultFailDuration  = encode("10s")
	defaultPassiveChecks = encode(object{"fail_duration": defaultFailDuration})
)

// object is a JSON object whose fields are not decoded.
type object = map[string]json.RawMessage

// composer builds a route's reverse proxy: Caddy's, with guests of the route in the places
// of its selection policy, its transport and its source of dynamic upstreams.
type composer struct {
	ctx   caddy.Context
	route *Handler

	loadBalancing object
	healthChecks  object
	transport     json.RawMessage // not http; nil if the route's own transport is to be used
}

// compose settles the groups of the route and loads its reverse proxy.
func (c *composer) compose() error {
	if err := c.readTransport(); err != nil {
		return fmt.Errorf("transport: %w", err)
	}
	var err error
	if c.loadBalancing, err = c.section("load_balancing"); err != nil {
		return err
	}
	if c.healthChecks, err = c.section("health_checks"); err != nil {
		return err
	}
	if err := c.buildGroups(); err != nil {
		return err
	}
	if err := c.setFailDuration(); err != nil {
		return err
	}
	if err := c.loadProxy(); err != nil {
		return err
	}
	c.bindProxy()
	return nil
}

// readTransport finds out whether the route's transport is http, and what it says.
func (c *composer) readTransport() error {
	h := c.route
	raw, given := h.ReverseProxy["transport"]
	if !given {
		h.base = new(reverseproxy.HTTPTransport)
		return nil
	}
	h.hasTransport = true
	fields, err := decodeObject(raw)
	if err != nil {
		return err
	}
	var protocol string
	if err := json.Unmarshal(fields["protocol"], &protocol); err != nil {
		return errors.New("it has no protocol; write {\"protocol\": \"http\", …}")
	}
	delete(fields, "protocol")
	switch protocol {
	case "http":
	case "proxyos":
		return errGuest("proxyos")
	default:
		c.transport = raw
		h.options.httpsPorts = nil // what a port means is the transport's affair
		return nil
	}
	encoded, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	h.base = new(reverseproxy.HTTPTransport)
	if err := caddy.StrictUnmarshalJSON(encoded, h.base); err != nil {
		return err
	}
	h.options.tls = h.base.TLS
	for _, version := range h.base.Versions {
		h.options.cleartextH2 = h.options.cleartextH2 || version == "h2c"
	}
	return nil
}

// section decodes one of reverse_proxy's objects.
func (c *composer) section(name string) (object, error) {
	fields, err := decodeObject(c.route.ReverseProxy[name])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return fields, nil
}

// decodeObject decodes the fields of a JSON object, those that are null left out. An
// object that is null or missing has none.
func decodeObject(raw json.RawMessage) (object, error) {
	fields := make(object)
	if len(raw) == 0 {
		return fields, nil
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("%s is not an object; write {…}", raw)
	}
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	if fields == nil { // null
		fields = make(object)
	}
	return fields, nil
}

// buildGroups settles production and staging.
func (c *composer) buildGroups() error {
	h := c.route
	if err := c.buildGroup(production, c.productionConfig()); err != nil {
		return err
	}
	if h.Staging != nil {
		if err := c.buildGroup(staging, *h.Staging); err != nil {
			return fmt.Errorf("staging: %w", err)
		}
	}
	var all []backend
	for _, g := range h.groups {
		all = append(all, g.backends...)
	}
	return checkMeanings(all)
}

// productionConfig returns what is said of production, in the form that it is said of
// staging in.
func (c *composer) productionConfig() Staging {
	return Staging{
		Upstreams:           c.route.Upstreams,
		DynamicUpstreamsRaw: c.route.ReverseProxy["dynamic_upstreams"],
		LoadBalancing:       &GroupLoadBalancing{SelectionPolicyRaw: c.loadBalancing["selection_policy"]},
	}
}

func (c *composer) buildGroup(name string, config Staging) error {
	h := c.route
	g := &group{name: name, label: name, skipTLSVerify: config.SkipTLSVerify}
	var err error
	if g.backends, err = c.settleGroup(name, config); err != nil {
		return err
	}
	if err := c.loadGuests(g, config); err != nil {
		return err
	}
	if g.policy == nil {
		weights := make([]int, len(g.backends))
		for i, b := range g.backends {
			weights[i] = b.weight
		}
		if schedule := turns.Schedule(weights); len(schedule) > 0 {
			g.order = turns.NewOrder(schedule, len(schedule))
		}
	}
	h.groups = append(h.groups, g)
	return nil
}

// settleGroup settles the meaning of a group's upstreams, and refuses what does not go
// together. It loads nothing.
func (c *composer) settleGroup(name string, config Staging) ([]backend, error) {
	if len(config.Upstreams) == 0 && len(config.DynamicUpstreamsRaw) == 0 {
		return nil, errors.New("there is no upstream to send requests to; write one, such as app:3000")
	}
	if c.transport != nil {
		if address := firstHTTPS(config.Upstreams); address != "" {
			return nil, fmt.Errorf("upstream %q: the route's transport is not http and has no TLS; write the address without https://", address)
		}
	}
	backends, err := resolve(config.Upstreams, config.SkipTLSVerify, c.route.options)
	if err != nil {
		return nil, err
	}
	if config.LoadBalancing != nil && len(config.LoadBalancing.SelectionPolicyRaw) > 0 && hasOwnWeights(config.Upstreams) {
		return nil, errors.New("weights belong to the default policy; remove lb_policy, or the weights")
	}
	return backends, checkWeights(name, backends)
}

// loadGuests loads the group's own selection policy and source of upstreams, if it has any.
func (c *composer) loadGuests(g *group, config Staging) error {
	if len(config.DynamicUpstreamsRaw) > 0 {
		source, err := c.ctx.LoadModule(&config, "DynamicUpstreamsRaw")
		if err != nil {
			return fmt.Errorf("loading the source of dynamic upstreams: %w", err)
		}
		g.dynamic = source.(reverseproxy.UpstreamSource)
	}
	if config.LoadBalancing != nil && len(config.LoadBalancing.SelectionPolicyRaw) > 0 {
		policy, err := c.ctx.LoadModule(&GroupLoadBalancing{config.LoadBalancing.SelectionPolicyRaw}, "SelectionPolicyRaw")
		if err != nil {
			return fmt.Errorf("loading the load balancing policy: %w", err)
		}
		g.policy = policy.(reverseproxy.Selector)
	}
	return nil
}

// hasSeveral tells whether there is another upstream to try where one fails. A dynamic
// source counts as several.
func (c *composer) hasSeveral() bool {
	upstreams := 0
	for _, g := range c.route.groups {
		upstreams += len(g.backends)
		if g.dynamic != nil {
			upstreams += 2
		}
	}
	return upstreams >= 2
}

// setFailDuration has failed upstreams avoided for a while, unless the operator has said
// something about that.
func (c *composer) setFailDuration() error {
	if !c.hasSeveral() {
		return nil
	}
	raw, given := c.healthChecks["passive"]
	if !given {
		c.healthChecks["passive"] = defaultPassiveChecks
		return nil
	}
	passive, err := decodeObject(raw)
	if err != nil {
		return fmt.Errorf("health_checks: passive: %w", err)
	}
	if passive["fail_duration"] == nil {
		passive["fail_duration"] = defaultFailDuration
		c.healthChecks["passive"] = encode(passive)
	}
	return nil
}

// loadProxy loads Caddy's reverse proxy. Its active health checks begin at once, and need
// the transport.
func (c *composer) loadProxy() error {
	h := c.route
	config := maps.Clone(h.ReverseProxy)
	if config == nil {
		config = make(object)
	}
	delete(config, "dynamic_upstreams")
	if c.transport == nil {
		config["transport"] = guestTransport
		if err := c.markHealthChecks(); err != nil {
			return err
		}
	}
	if _, given := config["load_balancing"]; given {
		delete(c.loadBalancing, "selection_policy")
		config["load_balancing"] = encode(c.loadBalancing)
	}
	if len(c.healthChecks) > 0 {
		config["health_checks"] = encode(c.healthChecks)
	}
	var upstreams reverseproxy.UpstreamPool
	for _, g := range h.groups {
		if g.dynamic != nil {
			config["dynamic_upstreams"] = guestSource
		}
		for _, b := range g.backends {
			upstreams = append(upstreams, &reverseproxy.Upstream{Dial: b.dial, MaxRequests: b.maxRequests})
		}
	}
	config["upstreams"] = encode(upstreams)

	module, err := c.ctx.LoadModuleByID("http.handlers.reverse_proxy", encode(config))
	if err != nil {
		return err
	}
	h.proxy = module.(*reverseproxy.Handler)
	return nil
}

// bindProxy puts the route's policy in the reverse proxy, and gives the groups its upstreams.
// What it sets, only requests look at, of which there are none yet. Health checks may be
// running already; they copy the handler itself at times, but not what its pointers are to.
func (c *composer) bindProxy() {
	h := c.route
	lb := h.proxy.LoadBalancing
	lb.SelectionPolicy = &selectionPolicy{route: h}
	if c.hasSeveral() && c.loadBalancing["retries"] == nil && c.loadBalancing["try_duration"] == nil {
		lb.Retries = defaultRetries
	}
	h.retries = lb.Retries
	pool := h.proxy.Upstreams
	for _, g := range h.groups {
		g.pool, pool = pool[:len(g.backends)], pool[len(g.backends):]
	}
}

// markHealthChecks lets the transport know which upstream an active check is for where
// the check goes to another port or host than the requests do.
func (c *composer) markHealthChecks() error {
	raw, ok := c.healthChecks["active"]
	if !ok {
		return nil
	}
	active, err := decodeObject(raw)
	if err != nil {
		return fmt.Errorf("health_checks: active: %w", err)
	}
	if active["port"] == nil && active["upstream"] == nil {
		return nil
	}
	headers := make(map[string][]string)
	if raw, ok := active["headers"]; ok {
		if err := json.Unmarshal(raw, &headers); err != nil {
			return fmt.Errorf("health_checks: active: headers: %w", err)
		}
	}
	headers[healthTargetHeader] = []string{"{http.reverse_proxy.active.target_upstream}"}
	active["headers"] = encode(headers)
	c.healthChecks["active"] = encode(active)
	return nil
}

// encode returns the JSON of a value that always has one.
func encode(value any) json.RawMessage {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic("proxyos: encoding configuration: " + err.Error())
	}
	return encoded
}
