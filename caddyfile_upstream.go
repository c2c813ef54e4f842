package proxyos

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
)

func (p *parser) to(upstreams *[]Upstream) error {
	args := p.RemainingArgs()
	if len(args) == 0 {
		return errArgumentCount
	}
	return p.addresses(upstreams, args)
}

func (p *parser) addresses(upstreams *[]Upstream, args []string) error {
	for _, arg := range args {
		if _, err := address.Parse(arg); err != nil {
			return p.WrapErr(err)
		}
		*upstreams = append(*upstreams, Upstream{Address: arg})
	}
	return nil
}

// upstreamBlock is what an upstream takes. Its TLS options are those of transport http.
var upstreamBlock = block[Upstream]{
	{"weight <n>", once, readWeight},
	{"max_requests <n>", once, func(p *parser, u *Upstream) error { return p.number(&u.MaxRequests) }},
	{"backup", once, readBackup},
	{"skip_tls_verify [on|off]", once, func(p *parser, u *Upstream) error { return p.onOff(&u.SkipTLSVerify) }},
	{"tls_server_name <name>", once, forward[Upstream]},
	{"tls_trust_pool <module> {...}", once, forward[Upstream]},
	{"tls_trusted_ca_certs <pem_files...>", once, forward[Upstream]},
	{"tls_client_auth <automate_name> | <cert_file> <key_file>", once, forward[Upstream]},
	{"tls_timeout <duration>", once, forward[Upstream]},
	{"tls_renegotiation never|once|freely", once, forward[Upstream]},
	{"tls_curves <curves...>", once, forward[Upstream]},
	{"tls_pin <sha256...>", repeatable, readPins},
}

// upstream reads one upstream and its options.
func (p *parser) upstream(upstreams *[]Upstream) error {
	opening := p.Token()
	if args := p.RemainingArgs(); len(args) != 1 {
		return p.Err("upstream takes one address, and options in a block; write `to` for several addresses")
	} else if err := p.addresses(upstreams, args); err != nil {
		return err
	}
	u := &(*upstreams)[len(*upstreams)-1]
	inner := newParser(p.Helper, fmt.Sprintf("upstream %q", u.Address))
	if err := upstreamBlock.parse(inner, u); err != nil {
		return err
	}
	if err := u.check(); err != nil {
		return p.Errf("upstream %q: %v", u.Address, err)
	}
	if len(inner.forwarded) > 0 {
		var transport reverseproxy.HTTPTransport
		if err := transport.UnmarshalCaddyfile(asBlock(opening, inner.forwarded)); err != nil {
			return err
		}
		u.TLS = transport.TLS
	}
	return nil
}

func readWeight(p *parser, u *Upstream) error {
	u.Weight = new(int)
	return p.number(u.Weight)
}

func readBackup(p *parser, u *Upstream) error {
	if p.NextArg() {
		return errArgumentCount
	}
	u.Backup = true
	return nil
}

func readPins(p *parser, u *Upstream) error {
	pins := p.RemainingArgs()
	if len(pins) == 0 {
		return errArgumentCount
	}
	if _, err := certs.ParsePins(pins); err != nil {
		return p.WrapErr(err)
	}
	u.TLSPins = append(u.TLSPins, pins...)
	return nil
}
