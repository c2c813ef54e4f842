package proxyos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// registry has the routes of a config. It is safe for concurrent use.
type registry struct {
	mu     sync.Mutex
	routes []*route
	byName map[string]registered
}

// registered is a route with a name.
type registered struct {
	route  *route
	config json.Marshaler
}

// add takes a route on, with its configuration. Two routes of one name must have the same
// one: a site with two listeners is loaded for each of them, and is one route that is served
// in two places. They share their state, and the first stands for both.
func (r *registry) add(one *route, config json.Marshaler) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one.name != "" {
		if first, taken := r.byName[one.name]; taken {
			if !sameJSON(first.config, config) {
				return errNameTaken(one.name, first.route.firstAddress())
			}
			return nil
		}
		if r.byName == nil {
			r.byName = make(map[string]registered)
		}
		r.byName[one.name] = registered{one, config}
	}
	r.routes = append(r.routes, one)
	return nil
}

func sameJSON(a, b json.Marshaler) bool {
	encodedA, errA := a.MarshalJSON()
	encodedB, errB := b.MarshalJSON()
	return errA == nil && errB == nil && bytes.Equal(encodedA, encodedB)
}

// errNameTaken says which other route has a name, by its first upstream.
func errNameTaken(name, address string) error {
	return fmt.Errorf("name %q: another proxyos route already has it, the one with the upstream %s; give each route its own name, or both the same configuration", name, address)
}

// all returns the routes in the order in which they were loaded, each name once.
func (r *registry) all() []*route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.routes)
}

// named returns the route of that name, or nil.
func (r *registry) named(name string) *route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[name].route
}
