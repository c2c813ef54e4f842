package proxyos

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("proxyos", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("proxyos", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterGlobalOption("proxyos", parseGlobalOption)
}

// parseDirective sets up the handler from Caddyfile tokens. Syntax:
//
//	proxyos [<matcher>] [<addresses...>] {
//	    name <name>
//	    to <addresses...>
//	    upstream <address> {
//	        weight <n>
//	        max_requests <n>
//	        skip_tls_verify [on|off]
//	        tls_server_name <name>
//	        tls_trust_pool <module> {...}
//	        tls_client_auth <automate_name> | <cert_file> <key_file>
//	        tls_pin <sha256...>
//	    }
//	    staging [<addresses...>] {
//	        to <addresses...>
//	        upstream <address> {...}
//	        dynamic <module> {...}
//	        lb_policy <policy> [<options...>]
//	        skip_tls_verify [on|off]
//	    }
//	    traffic_split <percent>[%]
//	    sticky cookie [<name>] | sticky key <placeholder>
//	    staging_when <matcher>
//	    production_when <matcher>
//	    staging_fallback on|off
//	    skip_tls_verify [on|off]
//
//	    # and every subdirective of reverse_proxy
//	}
func parseDirective(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := parser{Helper: helper, seen: make(map[string]bool)}
	p.Next() // the directive
	directive := p.Token()
	h := new(Handler)
	if err := p.addresses(&h.Upstreams, p.RemainingArgs()); err != nil {
		return nil, err
	}
	for p.NextBlock(0) {
		if err := p.subdirective(h); err != nil {
			return nil, err
		}
	}

	// the rest is reverse_proxy's, and so is its parser
	rp := new(reverseproxy.Handler)
	if err := rp.UnmarshalCaddyfile(asBlock(directive, p.rest)); err != nil {
		return nil, err
	}
	if err := rp.FinalizeUnmarshalCaddyfile(helper); err != nil {
		return nil, err
	}
	fields := make(object)
	if err := json.Unmarshal(encode(rp), &fields); err != nil {
		return nil, err
	}
	if p.transport != nil {
		fields["transport"] = p.transport
	}
	keepZero(fields, "load_balancing", "retries", p.seen["lb_retries"])
	keepZero(fields, "load_balancing", "try_duration", p.seen["lb_try_duration"])
	keepPassiveZero(fields, p.seen["fail_duration"])
	if len(fields) > 0 {
		h.ReverseProxy = fields
	}
	return h, nil
}

// parser reads one directive or block.
type parser struct {
	httpcaddyfile.Helper
	seen      map[string]bool // subdirectives read so far
	rest      []caddyfile.Token
	transport json.RawMessage
}

func (p *parser) subdirective(h *Handler) error {
	name := p.Val()
	switch name {
	case "name", "staging", "traffic_split", "skip_tls_verify", "sticky", "staging_fallback", "transport":
		if err := p.once(name); err != nil {
			return err
		}
	default:
		p.seen[name] = true
	}
	switch name {
	case "to":
		return p.to(&h.Upstreams)
	case "upstream":
		return p.upstream(&h.Upstreams)
	case "skip_tls_verify":
		return p.onOff(&h.SkipTLSVerify)
	case "name":
		if !p.AllArgs(&h.Name) {
			return p.ArgErr()
		}
		if err := checkName(h.Name); err != nil {
			return p.WrapErr(err)
		}
		return nil
	case "staging":
		h.Staging = new(Staging)
		return p.staging(h.Staging)
	case "traffic_split":
		var text string
		if !p.AllArgs(&text) {
			return p.ArgErr()
		}
		percent, err := parsePercent(text)
		if err != nil {
			return p.Errf("traffic_split: %v", err)
		}
		h.TrafficSplit = &percent
		return nil
	case "sticky":
		h.Sticky = new(Sticky)
		return p.sticky(h.Sticky)
	case "staging_when":
		return p.when(&h.StagingWhen)
	case "production_when":
		return p.when(&h.ProductionWhen)
	case "staging_fallback":
		return p.onOff(&h.StagingFallback)
	case "transport":
		return p.readTransport()
	}
	p.rest = append(p.rest, p.NextSegment()...)
	return nil
}

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

func (p *parser) to(upstreams *[]Upstream) error {
	args := p.RemainingArgs()
	if len(args) == 0 {
		return p.ArgErr()
	}
	return p.addresses(upstreams, args)
}

func (p *parser) addresses(upstreams *[]Upstream, args []string) error {
	for _, arg := range args {
		if _, err := parseAddress(arg); err != nil {
			return p.WrapErr(err)
		}
		*upstreams = append(*upstreams, Upstream{Address: arg})
	}
	return nil
}

// upstream reads an upstream that may have options of its own.
func (p *parser) upstream(upstreams *[]Upstream) error {
	opening := p.Token()
	if args := p.RemainingArgs(); len(args) != 1 {
		return p.Err("upstream takes one address, and options in a block; write `to` for several addresses")
	} else if err := p.addresses(upstreams, args); err != nil {
		return err
	}
	u := &(*upstreams)[len(*upstreams)-1]
	inner := parser{Helper: p.Helper, seen: make(map[string]bool)}
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		name := p.Val()
		if name == "tls_pin" { // the only one that may be written again
			pins := p.RemainingArgs()
			if len(pins) == 0 {
				return p.ArgErr()
			}
			if _, err := parsePins(pins); err != nil {
				return p.WrapErr(err)
			}
			u.TLSPins = append(u.TLSPins, pins...)
			continue
		}
		if err := inner.once(name); err != nil {
			return err
		}
		switch name {
		case "weight":
			u.Weight = new(int)
			if err := p.number(u.Weight); err != nil {
				return err
			}
		case "max_requests":
			if err := p.number(&u.MaxRequests); err != nil {
				return err
			}
		case "skip_tls_verify":
			if err := p.onOff(&u.SkipTLSVerify); err != nil {
				return err
			}
		case "tls_server_name", "tls_trust_pool", "tls_trusted_ca_certs", "tls_client_auth", "tls_timeout", "tls_renegotiation", "tls_curves":
			inner.rest = append(inner.rest, p.NextSegment()...)
		default:
			return p.Errf("unrecognized option %q of upstream %q; it takes weight, max_requests, skip_tls_verify, tls_server_name, tls_trust_pool, tls_client_auth and tls_pin", name, u.Address)
		}
	}
	if err := checkOptions(*u); err != nil {
		return p.Errf("upstream %q: %v", u.Address, err)
	}
	if len(inner.rest) > 0 {
		var transport reverseproxy.HTTPTransport
		if err := transport.UnmarshalCaddyfile(asBlock(opening, inner.rest)); err != nil {
			return err
		}
		u.TLS = transport.TLS
	}
	return nil
}

// readTransport reads the route's transport. It does not leave that to reverse_proxy,
// whose advice on the Host header would be wrong here.
func (p *parser) readTransport() error {
	if !p.NextArg() {
		return p.ArgErr()
	}
	name := p.Val()
	module, err := caddyfile.UnmarshalModule(p.Dispenser, "http.reverse_proxy.transport."+name)
	if err != nil {
		return err
	}
	if _, ok := module.(http.RoundTripper); !ok {
		return p.Errf("transport %q (%T) makes no round trips; name one of Caddy's transports, such as http", name, module)
	}
	if !reflect.DeepEqual(module, new(reverseproxy.HTTPTransport)) {
		p.transport = caddyconfig.JSONModuleObject(module, "protocol", name, nil)
	}
	return nil
}

// once refuses a subdirective that has been read before.
func (p *parser) once(name string) error {
	if p.seen[name] {
		return p.Errf("%s is already specified; write it once", name)
	}
	p.seen[name] = true
	return nil
}

// onOff reads an optional on or off; nothing means on.
func (p *parser) onOff(value **bool) error {
	name, args := p.Val(), p.RemainingArgs()
	on := len(args) == 0 || args[0] == "on"
	if len(args) > 1 || !on && args[0] != "off" {
		return p.Errf("%s takes on or off, not %q", name, strings.Join(args, " "))
	}
	*value = &on
	return nil
}

func (p *parser) number(value *int) error {
	name, text := p.Val(), ""
	if !p.AllArgs(&text) {
		return p.ArgErr()
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return p.Errf("%s: %q is not a whole number", name, text)
	}
	*value = n
	return nil
}

// asBlock returns a dispenser for tokens as the block of a directive.
func asBlock(directive caddyfile.Token, tokens []caddyfile.Token) *caddyfile.Dispenser {
	if len(tokens) == 0 {
		return caddyfile.NewDispenser([]caddyfile.Token{directive})
	}
	// Not clones: a clone of a quoted token is no brace.
	last := tokens[len(tokens)-1]
	directive = caddyfile.Token{File: directive.File, Line: directive.Line, Text: directive.Text}
	opening := caddyfile.Token{File: directive.File, Line: directive.Line, Text: "{"}
	closing := caddyfile.Token{File: last.File, Line: last.Line + last.NumLineBreaks() + 1, Text: "}"}
	block := append([]caddyfile.Token{directive, opening}, tokens...)
	return caddyfile.NewDispenser(append(block, closing))
}

// keepZero makes a written zero survive the encoding that leaves zeros out, so that it
// can turn a default off.
func keepZero(fields object, section, name string, written bool) {
	if !written {
		return
	}
	inner := make(object)
	if raw, ok := fields[section]; ok {
		_ = json.Unmarshal(raw, &inner) // encoded a moment ago
	}
	if inner[name] == nil {
		inner[name] = json.RawMessage("0")
		fields[section] = encode(inner)
	}
}

func keepPassiveZero(fields object, written bool) {
	if !written {
		return
	}
	checks := make(object)
	_ = json.Unmarshal(fields["health_checks"], &checks) // encoded a moment ago
	keepZero(checks, "passive", "fail_duration", true)
	fields["health_checks"] = encode(checks)
}

// parseGlobalOption sets up the app from Caddyfile tokens. Syntax:
//
//	proxyos {
//	    https_ports [+|-]<ports...>
//	    sync_interval <duration>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option
	if existing != nil {
		return nil, d.Err("the proxyos option is already specified; write it once")
	}
	app := new(App)
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	for d.NextBlock(0) {
		switch name := d.Val(); name {
		case "https_ports":
			if app.HTTPSPorts != nil {
				return nil, d.Err("https_ports is already specified; write all ports on one line")
			}
			ports, err := parseHTTPSPorts(d.RemainingArgs())
			if err != nil {
				return nil, d.WrapErr(err)
			}
			app.HTTPSPorts = &ports
		case "sync_interval":
			if app.SyncInterval != 0 {
				return nil, d.Err("sync_interval is already specified; write it once")
			}
			var text string
			if !d.AllArgs(&text) {
				return nil, d.ArgErr()
			}
			interval, err := caddy.ParseDuration(text)
			if err != nil {
				return nil, d.Errf("sync_interval: %q is not a duration; write one such as 5s", text)
			}
			app.SyncInterval = caddy.Duration(interval)
		default:
			return nil, d.Errf("unrecognized option %q of proxyos; it takes https_ports and sync_interval", name)
		}
	}
	return httpcaddyfile.App{Name: "proxyos", Value: caddyconfig.JSON(app, nil)}, nil
}
