package proxyos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Upstream is one backend of a group. In JSON it is either a string, the address,
// or an object with the fields below.
type Upstream struct {
	// The backend's address, as people write it: "pve:8006", "https://app.lan",
	// "h2c://grpc:9000", "unix//run/app.sock". A port range makes one upstream of each port,
	// all with the options below. A placeholder can be the host, the port or both, if no scheme
	// is written. In JSON, "dial" is accepted for "address", as in reverse_proxy. Required.
	Address string `json:"address,omitempty"`

	// The largest number of requests the upstream may have in flight; more go to other
	// upstreams, or get status 503 if there are none. Default: 0, no limit.
	MaxRequests int `json:"max_requests,omitempty"`

	// The upstream's share of its group's requests, relative to the others: an upstream
	// of weight 3 gets three times the requests of one of weight 1. From 0, which gets
	// no new requests, to 1000. Default: 1. Only with the default load balancing policy.
	Weight *int `json:"weight,omitempty"`

	// Whether requests go to this upstream only while no other of its group is available: each is
	// down, drained, full, or has been tried by the request. Of several, those that are available
	// take turns by weight, whatever policy the group has. At least one upstream of a group must be
	// none. Default: false.
	Backup bool `json:"backup,omitempty"`

	// Whether to leave this upstream's certificate unchecked (true) or to check it
	// (false), whatever the group and the route say. It never turns TLS on. Default: unset.
	SkipTLSVerify *bool `json:"skip_tls_verify,omitempty"`

	// TLS options only for this upstream, on top of those of the route's transport: the server
	// name, the trusted authorities, the client certificate. They never turn TLS on, and are
	// rejected for an upstream that does not speak HTTPS. With any of them the certificate is
	// checked, unless they or SkipTLSVerify say otherwise. Default: none.
	TLS *reverseproxy.TLSConfig `json:"tls,omitempty"`

	// The only certificates to accept from this upstream, each as the SHA-256 of the
	// certificate in hexadecimal digits of either case, with or without colons. Who signed it,
	// its names and its dates do not matter. Any other certificate is rejected in the handshake,
	// so no request reaches the server. Write two to replace a certificate without a gap. Not
	// allowed for an upstream that does not speak HTTPS, beside its own trust pool, if
	// skip_tls_verify says not to check, and with HTTP/3. Default: none.
	TLSPins []string `json:"tls_pins,omitempty"`
}

// UnmarshalJSON decodes an address, or an object. It rejects unknown fields.
func (u *Upstream) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		*u = Upstream{}
		return json.Unmarshal(data, &u.Address)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return fmt.Errorf("upstream %s: write an address, such as \"app:3000\", or an object with one", data)
	}
	type upstream Upstream
	var object struct {
		upstream
		Dial string `json:"dial"`
	}
	if err := caddy.StrictUnmarshalJSON(data, &object); err != nil {
		return fmt.Errorf("upstream %s: %w", data, plainly("", err))
	}
	if object.Dial != "" && object.Address != "" {
		return fmt.Errorf("upstream %q: both address and dial (%q) are given; keep one of them", object.Address, object.Dial)
	}
	if object.Address == "" {
		object.Address = object.Dial
	}
	*u = Upstream(object.upstream)
	return nil
}

// MarshalJSON encodes an upstream without options as only its address.
func (u Upstream) MarshalJSON() ([]byte, error) {
	if reflect.DeepEqual(u, Upstream{Address: u.Address}) {
		return json.Marshal(u.Address)
	}
	type plain Upstream
	return json.Marshal(plain(u))
}

// checkWeight rejects a weight that is out of range.
func checkWeight(weight int) error {
	if weight < 0 || weight > maxWeight {
		return fmt.Errorf("weight %d is outside 0 to %d", weight, maxWeight)
	}
	return nil
}

// check rejects options that are out of range.
func (u Upstream) check() error {
	if u.Weight != nil {
		if err := checkWeight(*u.Weight); err != nil {
			return err
		}
	}
	if u.MaxRequests < 0 {
		return fmt.Errorf("max_requests %d is negative; write how many requests it may have in flight, or 0 for no limit", u.MaxRequests)
	}
	return nil
}

// Interface guards
var (
	_ json.Unmarshaler = (*Upstream)(nil)
	_ json.Marshaler   = Upstream{}
)
