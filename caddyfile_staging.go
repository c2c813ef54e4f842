package proxyos

import (
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// stagingBlock is what staging takes. Everything else applies to both groups.
var stagingBlock = block[Group]{
	{"to <addresses...>", repeatable, func(p *parser, s *Group) error { return p.to(&s.Upstreams) }},
	{"upstream <address> {...}", repeatable, func(p *parser, s *Group) error { return p.upstream(&s.Upstreams) }},
	{"dynamic <module> {...}", once, forward[Group]},
	{"lb_policy <policy> [<options...>]", once, forward[Group]},
	{"skip_tls_verify [on|off]", once, func(p *parser, s *Group) error { return p.onOff(&s.SkipTLSVerify) }},
}

func readStaging(p *parser, h *Handler) error {
	opening, s := p.Token(), new(Group)
	if err := p.addresses(&s.Upstreams, p.RemainingArgs()); err != nil {
		return err
	}
	inner := newParser(p.Helper, "staging")
	if err := stagingBlock.parse(inner, s); err != nil {
		return err
	}
	rp := new(reverseproxy.Handler)
	if err := rp.UnmarshalCaddyfile(asBlock(opening, inner.forwarded)); err != nil {
		return err
	}
	s.DynamicUpstreamsRaw = rp.DynamicUpstreamsRaw
	if rp.LoadBalancing != nil {
		s.LoadBalancing = &GroupLoadBalancing{SelectionPolicyRaw: rp.LoadBalancing.SelectionPolicyRaw}
	}
	h.Staging = s
	return nil
}

func readSticky(p *parser, h *Handler) error {
	s := new(Sticky)
	switch args := p.RemainingArgs(); {
	case len(args) == 1 && args[0] == "cookie":
		s.Cookie = defaultCookie
	case len(args) == 2 && args[0] == "cookie":
		s.Cookie = args[1]
	case len(args) == 3 && args[0] == "cookie" && args[2] == "cacheable":
		s.Cookie, s.Cacheable = args[1], true
	case len(args) == 2 && args[0] == "key":
		s.Key = args[1]
	default:
		return p.Errf("sticky takes `cookie [<name> [cacheable]]` or `key <placeholder>`, not %q", strings.Join(args, " "))
	}
	if err := s.check(); err != nil {
		return p.WrapErr(err)
	}
	h.Sticky = s
	return nil
}

// when reads a matcher set: a named matcher, a path, or matchers written in place. A request
// must match one of the sets.
func (p *parser) when(sets *matcherSets) error {
	name := p.Val()
	if p.NextArg() {
		p.Prev()
		set, isToken, err := p.MatcherToken()
		if err != nil {
			return p.Errf("%s: %w", name, err)
		}
		if isToken {
			if len(set) == 0 {
				return p.Errf("%s: %q matches every request; write `traffic_split` instead", name, p.Val())
			}
			if p.NextArg() {
				return errArgumentCount
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
