package proxyos

import (
	"fmt"
	"slices"
	"sync"
)

// registry has the routes of a config. It is safe for concurrent use.
type registry struct {
	mu     sync.Mutex
	routes []*route
	byName map[string]*route
}

// add adds a route. It rejects a name that another route has.
func (r *registry) add(one *route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.byName[one.name]; taken {
		return errNameTaken(one.name)
	}
	if one.name != "" {
		if r.byName == nil {
			r.byName = make(map[string]*route)
		}
		r.byName[one.name] = one
	}
	r.routes = append(r.routes, one)
	return nil
}

func errNameTaken(name string) error {
	return fmt.Errorf("name %q: another proxyos route already has it; give each route its own name", name)
}

// all returns the routes in the order in which they were loaded.
func (r *registry) all() []*route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.routes)
}

// named returns the route of that name, or nil.
func (r *registry) named(name string) *route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[name]
}
