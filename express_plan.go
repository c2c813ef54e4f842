package proxyos

import (
	"fmt"
	"strings"
)

// keptOffExpress says what keeps a route off the short way: everything that only
// reverse_proxy can do. It is empty for a plain route.
func (p *plan) keptOffExpress() []string {
	var all []string
	if p.slowBy != "" {
		all = append(all, p.slowBy)
	}
	needs := func(isWritten bool, option string) {
		if isWritten {
			all = append(all, fmt.Sprintf("`%s` needs reverse_proxy", option))
		}
	}
	if !canCount {
		all = append(all, "this version of Caddy counts requests in another way")
	}
	needs(p.ownTransport, "transport")
	needs(p.base != nil && p.base.ProxyProtocol != "", "proxy_protocol")
	for _, g := range p.groups() {
		all = append(all, g.keptOffExpress()...)
	}

	proxy := p.proxy
	needs(len(proxy.CBRaw) > 0, "circuit_breaker")
	needs(proxy.FlushInterval > 0, "flush_interval")
	needs(proxy.RequestBuffers != 0, "request_buffers")
	needs(proxy.ResponseBuffers != 0, "response_buffers")
	needs(proxy.Rewrite != nil, "rewrite")
	needs(len(proxy.HandleResponse) > 0, "handle_response")
	needs(proxy.VerboseLogs, "verbose_logs")
	if lb := proxy.LoadBalancing; lb != nil {
		needs(lb.TryDuration > 0, "lb_try_duration")
		needs(len(lb.RetryMatchRaw) > 0, "lb_retry_match")
	}
	if passive := p.passiveChecks(); passive != nil {
		needs(len(passive.UnhealthyStatus) > 0, "unhealthy_status")
		needs(passive.UnhealthyLatency > 0, "unhealthy_latency")
		needs(passive.UnhealthyRequestCount > 0, "unhealthy_request_count")
	}
	return all
}

// keptOffExpress says what of a group keeps its route off the short way.
func (g *groupPlan) keptOffExpress() []string {
	var all []string
	if g.isDynamic() {
		all = append(all, fmt.Sprintf("`dynamic` upstreams of %s need reverse_proxy", g.name))
	}
	if g.policy() != nil && policyName(g.policy()) != "least_latency" { // which needs nothing of the request
		all = append(all, fmt.Sprintf("`lb_policy` of %s needs reverse_proxy", g.name))
	}
	for _, b := range g.backends {
		if b.maxRequests > 0 {
			all = append(all, fmt.Sprintf("`max_requests` of %s needs reverse_proxy", b.address))
		}
		if strings.Contains(b.dial, "{") {
			all = append(all, fmt.Sprintf("the address %s is known only when there is a request", b.address))
		}
	}
	return all
}
