package proxyos

import (
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
)

func (p *parser) to(upstreams *[]Upstream) error {
	args := p.RemainingArgs()
	if len(args) == 0 {
		return p.ArgErr()
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
			if _, err := certs.ParsePins(pins); err != nil {
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
			return p.Errf("unrecognized option %q of upstream %q; it takes weight, max_requests, skip_tls_verify, tls_server_name, tls_trust_pool, tls_trusted_ca_certs, tls_client_auth, tls_timeout, tls_renegotiation, tls_curves and tls_pin", name, u.Address)
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
