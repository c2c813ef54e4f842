package proxyos

import (
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/dustin/go-humanize"

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

// directiveBlock is what proxyos takes. reverse_proxy reads everything else.
var directiveBlock = block[Handler]{
	{"name <name>", once, readName},
	{"to <addresses...>", repeatable, func(p *parser, h *Handler) error { return p.to(&h.Upstreams) }},
	{"upstream <address> {...}", repeatable, func(p *parser, h *Handler) error { return p.upstream(&h.Upstreams) }},
	{"staging [<addresses...>] {...}", once, readStaging},
	{"traffic_split <percent>[%]", once, readTrafficSplit},
	{"sticky cookie [<name> [cacheable]] | sticky key <placeholder>", once, readSticky},
	{"staging_when <matcher>", repeatable, func(p *parser, h *Handler) error { return p.when(&h.StagingWhen) }},
	{"production_when <matcher>", repeatable, func(p *parser, h *Handler) error { return p.when(&h.ProductionWhen) }},
	{"staging_fallback [on|off]", once, func(p *parser, h *Handler) error { return p.onOff(&h.StagingFallback) }},
	{"release {...}", once, readRelease},
	{"skip_tls_verify [on|off]", once, func(p *parser, h *Handler) error { return p.onOff(&h.SkipTLSVerify) }},
	{"slow_start <duration>", once, func(p *parser, h *Handler) error { return p.duration(&h.SlowStart, "30s") }},
	{"eject 5xx <ratio>|<percent>% [min <requests>] [in <duration>] [for <duration>] [max <percent>%]", once, readEject},
	{"retry_budget <percent>[%] [min <per_second>] | retry_budget off", once, readRetryBudget},
	{"retry_buffer <size>", once, readRetryBuffer},
	{"fast_path [on|off]", once, func(p *parser, h *Handler) error { return p.onOff(&h.FastPath) }},
	{"transport <module> {...}", once, readTransport},
}

// parseDirective sets up the handler from Caddyfile tokens. Syntax:
//
//	proxyos [<matcher>] [<addresses...>] {
//	    # what directiveBlock lists, and every subdirective of reverse_proxy
//	}
func parseDirective(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := newParser(helper, "")
	p.Next() // the directive
	directive := p.Token()
	h := new(Handler)
	if err := p.addresses(&h.Upstreams, p.RemainingArgs()); err != nil {
		return nil, err
	}
	if err := directiveBlock.parse(p, h); err != nil {
		return nil, err
	}

	rp := new(reverseproxy.Handler)
	if err := rp.UnmarshalCaddyfile(asBlock(directive, p.forwarded)); err != nil {
		return nil, err
	}
	if err := rp.FinalizeUnmarshalCaddyfile(helper); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encode(rp), &h.ReverseProxy); err != nil { // keeps the transport
		return nil, err
	}
	keepZero(h.ReverseProxy, "load_balancing", "retries", p.seen["lb_retries"])
	keepZero(h.ReverseProxy, "load_balancing", "try_duration", p.seen["lb_try_duration"])
	keepPassiveZero(h.ReverseProxy, p.seen["fail_duration"])
	if err := checkWritten(helper, directive, h); err != nil {
		return nil, err
	}
	return h, nil
}

func readName(p *parser, h *Handler) error {
	if !p.AllArgs(&h.Name) {
		return errArgumentCount
	}
	if err := checkName(h.Name); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

func readTrafficSplit(p *parser, h *Handler) error {
	var text string
	if !p.AllArgs(&text) {
		return errArgumentCount
	}
	percent, err := parsePercent(text)
	if err != nil {
		return p.Errf("traffic_split: %v", err)
	}
	h.TrafficSplit = &percent
	return nil
}

func readRetryBuffer(p *parser, h *Handler) error {
	var text string
	if !p.AllArgs(&text) {
		return errArgumentCount
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size > maxKept {
		return p.Errf("retry_buffer: %q is not a size from 0 to 16MiB; write one such as 64KiB, or 0 to keep no bodies", text)
	}
	bytes := int64(size)
	h.RetryBuffer = &bytes
	return nil
}

// readTransport reads the transport itself: the advice of reverse_proxy's parser on the Host
// header would be wrong here.
func readTransport(p *parser, h *Handler) error {
	if !p.NextArg() {
		return errArgumentCount
	}
	name := p.Val()
	module, err := caddyfile.UnmarshalModule(p.Dispenser, "http.reverse_proxy.transport."+name)
	if err != nil {
		return err
	}
	if _, ok := module.(http.RoundTripper); !ok {
		return p.Errf("transport %q (%T) is not an HTTP transport; write one of Caddy's, such as http", name, module)
	}
	if !reflect.DeepEqual(module, new(reverseproxy.HTTPTransport)) {
		h.ReverseProxy = object{"transport": caddyconfig.JSONModuleObject(module, "protocol", name, nil)}
	}
	return nil
}

// asBlock returns a dispenser that reads tokens as the block of a directive.
func asBlock(directive caddyfile.Token, tokens []caddyfile.Token) *caddyfile.Dispenser {
	if len(tokens) == 0 {
		return caddyfile.NewDispenser([]caddyfile.Token{directive})
	}
	// Not cloned: the clone of a quoted token stays quoted, and a quoted brace is text.
	last := tokens[len(tokens)-1]
	directive = caddyfile.Token{File: directive.File, Line: directive.Line, Text: directive.Text}
	opening := caddyfile.Token{File: directive.File, Line: directive.Line, Text: "{"}
	closing := caddyfile.Token{File: last.File, Line: last.Line + last.NumLineBreaks() + 1, Text: "}"}
	block := append([]caddyfile.Token{directive, opening}, tokens...)
	return caddyfile.NewDispenser(append(block, closing))
}

// keepZero restores a zero that the operator wrote to turn off a default, and that encoding
// left out.
func keepZero(fields object, section, name string, written bool) {
	if !written {
		return
	}
	inner := make(object)
	if raw, ok := fields[section]; ok {
		_ = json.Unmarshal(raw, &inner) // cannot fail: it was just encoded
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
	_ = json.Unmarshal(fields["health_checks"], &checks) // cannot fail: it was just encoded
	keepZero(checks, "passive", "fail_duration", true)
	fields["health_checks"] = encode(checks)
}
