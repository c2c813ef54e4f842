package proxyos

import (
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// staging reads the staging subdirective.
func (p *parser) staging(s *Staging) error {
	opening := p.Token()
	if err := p.addresses(&s.Upstreams, p.RemainingArgs()); err != nil {
		return err
	}
	inner := parser{Helper: p.Helper, seen: make(map[string]bool)}
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		switch name := p.Val(); name {
		case "to":
			if err := p.to(&s.Upstreams); err != nil {
				return err
			}
		case "upstream":
			if err := p.upstream(&s.Upstreams); err != nil {
				return err
			}
		case "skip_tls_verify":
			if err := inner.once(name); err != nil {
				return err
			}
			if err := p.onOff(&s.SkipTLSVerify); err != nil {
				return err
			}
		case "dynamic", "lb_policy":
			inner.rest = append(inner.rest, p.NextSegment()...)
		default:
			return p.Errf("unrecognized subdirective %q of staging; it takes to, upstream, dynamic, lb_policy and skip_tls_verify", name)
		}
	}
	rp := new(reverseproxy.Handler)
	if err := rp.UnmarshalCaddyfile(asBlock(opening, inner.rest)); err != nil {
		return err
	}
	s.DynamicUpstreamsRaw = rp.DynamicUpstreamsRaw
	if rp.LoadBalancing != nil {
		s.LoadBalancing = &GroupLoadBalancing{SelectionPolicyRaw: rp.LoadBalancing.SelectionPolicyRaw}
	}
	return nil
}

// sticky reads how clients stick to a group.
func (p *parser) sticky(s *Sticky) error {
	switch args := p.RemainingArgs(); {
	case len(args) == 1 && args[0] == "cookie":
		s.Cookie = defaultCookie
	case len(args) == 2 && args[0] == "cookie":
		s.Cookie = args[1]
	case len(args) == 2 && args[0] == "key":
		s.Key = args[1]
	default:
		return p.Errf("sticky takes `cookie [<name>]` or `key <placeholder>`, not %q", strings.Join(args, " "))
	}
	if err := s.check(); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

// when reads one more matcher set, any of which may match: a named matcher, a path, or
// matchers written in place.
func (p *parser) when(sets *matcherSets) error {
	name := p.Val()
	if p.NextArg() {
		p.Prev()
		set, isToken, err := p.MatcherToken()
		if err != nil {
			return err
		}
		if isToken {
			if len(set) == 0 {
				return p.Errf("%s: %q matches every request; write `traffic_split` instead", name, p.Val())
			}
			if p.NextArg() {
				return p.ArgErr()
			}
			*sets = append(*sets, set)
			return nil
		}
		p.Prev()
	}
	set, err := caddyhttp.ParseCaddyfileNestedMatcherSet(p.Dispenser)
	if err != nil {
		return p.Errf("%s: %v", name, err)
	}
	if len(set) == 0 {
		return p.Errf("%s: no matcher is given; write one, such as `%s header X-Tester 1`", name, name)
	}
	*sets = append(*sets, set)
	return nil
}
