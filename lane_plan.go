package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// defaultIdleConnsPerHost is how many idle connections are kept to each upstream, unless
// the route's transport says otherwise.
const defaultIdleConnsPerHost = 256

// lanePlan is a lane before it is loaded.
type lanePlan struct {
	backend backend // the first one that it is for
	config  *reverseproxy.HTTPTransport
	key     string // backends whose lanes have the same key share one
	shared  bool   // also with those of other routes
	direct  bool   // over internal/h1 where that does the same as the transport
}

// planLane plans the lane to a backend. Backends of different routes share one, and so its
// connections, where neither they nor their routes say anything of the transport: with
// many routes that saves most of the memory and the time to load them.
func (p *plan) planLane(b backend) (lanePlan, error) {
	config, err := laneConfig(p.base, b)
	if err != nil {
		return lanePlan{}, err
	}
	lane := lanePlan{backend: b, config: config, direct: p.slowBy == ""}
	way := "direct "
	if !lane.direct {
		way = "indirect "
	}
	if p.base == nil && b.tls == nil && len(b.pins) == 0 && (b.scheme != address.HTTPS || b.verify) {
		lane.shared, lane.key = true, way+b.scheme+" "+b.address.Network
		return lane, nil
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return lanePlan{}, err
	}
	lane.key = way + b.scheme + string(encoded)
	for _, pin := range b.pins {
		lane.key += pin.String()
	}
	if dial, host, watched := watchTarget(b, config); watched {
		lane.key += dial + " " + host
	}
	return lane, nil
}

// portLanePlans are the lanes to upstreams of which nothing but the port is known.
type portLanePlans struct {
	byPort map[string]lanePlan
	other  lanePlan
}

// planPortLanes plans the lanes to upstreams that the dynamic source of a group names.
func (p *plan) planPortLanes(groupSkip *bool) (lanes portLanePlans, err error) {
	planned := func(port string) (lanePlan, error) {
		b := backend{address: address.Address{Port: port}}
		b.meaning = infer(b.address, Upstream{}, groupSkip, p.addresses)
		return p.planLane(b)
	}
	if lanes.other, err = planned(""); err != nil {
		return lanes, err
	}
	lanes.byPort = make(map[string]lanePlan)
	for port := range p.addresses.httpsPorts {
		if lanes.byPort[port], err = planned(port); err != nil {
			return lanes, err
		}
	}
	if p.addresses.tls != nil {
		for _, port := range p.addresses.tls.ExceptPorts {
			if lanes.byPort[port], err = planned(port); err != nil {
				return lanes, err
			}
		}
	}
	return lanes, nil
}

// laneConfig returns the http transport for a backend: the route's own, if one is written,
// with the backend's scheme and certificate check.
func laneConfig(base *reverseproxy.HTTPTransport, b backend) (*reverseproxy.HTTPTransport, error) {
	config := new(reverseproxy.HTTPTransport)
	if base != nil {
		if err := recode(base, config); err != nil {
			return nil, err
		}
	}
	if config.KeepAlive == nil {
		config.KeepAlive = new(reverseproxy.KeepAlive)
	}
	if config.KeepAlive.MaxIdleConnsPerHost == 0 {
		config.KeepAlive.MaxIdleConnsPerHost = defaultIdleConnsPerHost
	}
	if b.scheme != address.HTTPS {
		config.TLS = nil
		if slices.Contains(config.Versions, "3") {
			return nil, fmt.Errorf("the transport says `versions 3`, and HTTP/3 needs TLS; write https://%s", b.address.WithoutScheme())
		}
		if b.scheme == address.H2C {
			return config, config.EnableH2C()
		}
		return config, nil
	}

	if config.TLS == nil {
		config.TLS = new(reverseproxy.TLSConfig)
	}
	if b.tls != nil {
		if b.tls.CARaw != nil {
			//lint:ignore SA1019 the route may still use the deprecated fields, which exclude this one
			config.TLS.RootCAPool, config.TLS.RootCAPEMFiles = nil, nil
		}
		if err := recode(b.tls, config.TLS); err != nil {
			return nil, err
		}
	}
	if len(b.pins) > 0 && slices.Contains(config.Versions, "3") {
		return nil, errors.New("tls_pin does not work with the transport's `versions 3`; remove one of them")
	}
	if b.verify && strings.Contains(config.TLS.ServerName, "{") && slices.Contains(config.Versions, "3") {
		return nil, fmt.Errorf("tls_server_name %s: with `versions 3`, a connection that was checked for one name may serve a request for another; write a name without a placeholder, or remove `versions 3`", config.TLS.ServerName)
	}
	config.TLS.InsecureSkipVerify = !b.verify || len(b.pins) > 0 // a pin stands for the whole check
	config.TLS.ExceptPorts = nil
	config.Versions = slices.DeleteFunc(config.Versions, func(v string) bool { return v == "h2c" })
	return config, nil
}

// recode copies the fields that are set in one configuration over those of another.
func recode(from, to any) error {
	encoded, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(encoded, to)
}
