package proxyos

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

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
//	        # and tls_trusted_ca_certs, tls_timeout, tls_renegotiation and tls_curves
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
//	    staging_fallback [on|off]
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
