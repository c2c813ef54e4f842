package proxyos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// maxWeight is the largest weight of an upstream.
const maxWeight = 1000

// backend is one upstream with its meaning settled: an Upstream whose port range is expanded
// and to which the rules are applied.
type backend struct {
	meaning
	address     address.Address
	dial        string
	weight      int
	maxRequests int
	backup      bool                    // only while no other is available
	tls         *reverseproxy.TLSConfig // its own; nil if there are none
	pins        []certs.Pin             // the only certificates to accept; empty if none is pinned
}

// isNamed tells whether somebody means this backend by an address: the one that is dialled, or the
// one that is written, with or without its scheme.
func (b backend) isNamed(named string) bool {
	if scheme, bare, ok := strings.Cut(named, "://"); ok && scheme == b.scheme {
		named = bare
	}
	return named == b.dial || named == b.address.String() || named == b.address.WithoutScheme()
}

// resolve settles the meaning of the upstreams of one group.
func resolve(upstreams []Upstream, groupSkip *bool, route routeOptions) ([]backend, error) {
	var backends []backend
	for _, u := range upstreams {
		a, err := address.Parse(u.Address)
		if err != nil {
			return nil, err
		}
		if err := u.check(); err != nil {
			return nil, fmt.Errorf("upstream %q: %w", u.Address, err)
		}
		pins, err := certs.ParsePins(u.TLSPins)
		if err != nil {
			return nil, fmt.Errorf("upstream %q: %w", u.Address, err)
		}
		weight := 1
		if u.Weight != nil {
			weight = *u.Weight
		}
		speaksHTTPS := false
		for _, one := range a.Expand() {
			m := infer(one, u, groupSkip, route)
			speaksHTTPS = speaksHTTPS || m.scheme == address.HTTPS
			if err := checkPinned(u, one, m); err != nil {
				return nil, fmt.Errorf("upstream %q: %w", u.Address, err)
			}
			backends = append(backends, backend{
				meaning: m, address: one, dial: one.Dial(),
				weight: weight, maxRequests: u.MaxRequests, backup: u.Backup, tls: u.TLS, pins: pins,
			})
		}
		if u.TLS != nil && !speaksHTTPS {
			return nil, fmt.Errorf("upstream %q: it has TLS settings but speaks HTTP, since %s; write https://%s",
				u.Address, backends[len(backends)-1].schemeReason, a.WithoutScheme())
		}
	}
	return backends, nil
}

// checkPinned rejects a pin that would have no effect.
func checkPinned(u Upstream, a address.Address, m meaning) error {
	switch {
	case len(u.TLSPins) == 0:
		return nil
	case m.scheme != address.HTTPS:
		return fmt.Errorf("it has a tls_pin but speaks HTTP, since %s; write %s", m.schemeReason, a.As(address.HTTPS))
	case !m.verify:
		return fmt.Errorf("its certificate is pinned but not checked, since %s; remove that, or write `skip_tls_verify off` for this upstream", m.verifyReason)
	case u.TLS != nil && u.TLS.CARaw != nil:
		return errors.New("tls_pin accepts a certificate no matter who signed it, so tls_trust_pool has no effect; remove one of them")
	}
	return nil
}

// checkMeanings rejects backends of one route that dial the same address but have different
// meanings. Placeholders that are known already, such as {env.APP}, are replaced before, unless they
// are for elsewhere.
func checkMeanings(elsewhere bool, groups ...*groupPlan) error {
	type placed struct {
		backend
		group string
	}
	first := make(map[string]placed)
	for _, g := range groups {
		for _, b := range g.backends {
			where := b.knownDial()
			if elsewhere && strings.Contains(b.dial, "{") {
				where = b.dial
			}
			other, taken := first[where]
			if !taken {
				first[where] = placed{b, g.name}
				continue
			}
			if b.means(other.backend) {
				continue
			}
			err := errContradiction(b, other.backend, other.group, where)
			if g.name == staging {
				return fmt.Errorf("staging: %w", err)
			}
			return err
		}
	}
	return nil
}

// errContradiction says that two upstreams that dial the same address mean different things.
func errContradiction(b, other backend, otherGroup, where string) error {
	return fmt.Errorf("upstream %q: it dials %s, like upstream %q of %s, but in a different way (%s; %s); write both the same way, or change one of the addresses",
		b.address, where, other.address, otherGroup, b.describe(), other.describe())
}

// knownDial returns the dial address with the placeholders replaced that are known at load,
// in the form that is compared: without "tcp/", say.
func (b backend) knownDial() string {
	if !strings.Contains(b.dial, "{") && !strings.Contains(b.dial, "/") {
		return b.dial // the usual case, which parsing would not change
	}
	return keyOf(caddy.NewReplacer().ReplaceKnown(b.dial, ""))
}

// settledDial is knownDial where the address stays as it is while the config runs. That of
// a placeholder does if it is {env.*}: a file may change, and so may a request.
func (b backend) settledDial() (dial string, settled bool) {
	if !strings.Contains(b.dial, "{") {
		return b.knownDial(), true
	}
	environment := caddy.NewEmptyReplacer()
	environment.Map(func(key string) (any, bool) {
		name, ok := strings.CutPrefix(key, "env.")
		return os.Getenv(name), ok
	})
	dial = environment.ReplaceKnown(b.dial, "")
	if strings.Contains(dial, "{") {
		return "", false
	}
	return keyOf(dial), true
}

// keyOf is dialKey of a dial address.
func keyOf(dial string) string {
	parsed, err := caddy.ParseNetworkAddress(dial)
	if err != nil {
		return dial
	}
	return dialKey(parsed.Network, parsed.JoinHostPort(0))
}

// dialKey tells dial addresses apart. Which version of IP is dialled makes no other address.
func dialKey(network, hostPort string) string {
	if strings.HasPrefix(network, "tcp") {
		return strings.ToLower(hostPort)
	}
	return network + "/" + hostPort
}

// means tells whether two backends are spoken to in the same way.
func (b backend) means(other backend) bool {
	return b.scheme == other.scheme && b.verify == other.verify && sameTLS(b.tls, other.tls) && slices.Equal(b.pins, other.pins)
}

func sameTLS(a, b *reverseproxy.TLSConfig) bool {
	encodedA, errA := json.Marshal(a)
	encodedB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(encodedA, encodedB)
}

// describe says in a few words what the backend speaks.
func (b backend) describe() string {
	switch {
	case b.scheme == address.H2C:
		return "HTTP/2 cleartext"
	case b.scheme == address.HTTP:
		return "HTTP"
	case !b.verify:
		return "HTTPS, certificate not checked"
	case len(b.pins) > 0:
		return "HTTPS, certificate pinned"
	case b.tls != nil:
		return "HTTPS, certificate checked, with its own TLS settings"
	}
	return "HTTPS, certificate checked"
}

// diagnosed returns what a hint needs to know about the backend.
func (b backend) diagnosed() diagnose.Upstream {
	return diagnose.Upstream{Address: b.address, Scheme: b.scheme, SchemeReason: string(b.schemeReason)}
}

// checkWeights rejects a group in which no upstream gets requests.
func checkWeights(groupName string, backends []backend) error {
	isBackup := func(b backend) bool { return b.backup }
	hasWeight := func(b backend) bool { return b.weight > 0 && !b.backup }
	isAll := len(backends) > 0 && !slices.ContainsFunc(backends, func(b backend) bool { return !b.backup })
	switch {
	case len(backends) == 0, slices.ContainsFunc(backends, hasWeight):
		return nil
	case isAll:
		return fmt.Errorf("every upstream of %s is a backup; remove backup from those that are to get requests at any time", groupName)
	case slices.ContainsFunc(backends, isBackup):
		return fmt.Errorf("every upstream of %s but its backups has weight 0, so none gets requests; give one a weight from 1 to %d", groupName, maxWeight)
	}
	return fmt.Errorf("every upstream of %s has weight 0, so none gets requests; give one a weight from 1 to %d", groupName, maxWeight)
}

// detectedWithoutCheck lists the backends whose certificates are unchecked only because of
// their ports.
func detectedWithoutCheck(backends []backend) []string {
	var addresses []string
	for _, b := range backends {
		if b.uncheckedByDetection() && !slices.Contains(addresses, b.address.String()) {
			addresses = append(addresses, b.address.String())
		}
	}
	return addresses
}

// hasOwnWeights tells whether any weight is written.
func hasOwnWeights(upstreams []Upstream) bool {
	return slices.ContainsFunc(upstreams, func(u Upstream) bool { return u.Weight != nil })
}
