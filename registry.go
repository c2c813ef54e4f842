package proxyos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// registry is the routes of a configuration. Safe for concurrent use.
type registry struct {
	mu     sync.Mutex
	routes []*route
	byName map[string]*route
	titles map[string]bool // those of routes without a name
	names  names
}

// add adds a route, with its configuration and its first upstream. Of routes that share a name, the
// first stands for all: they share their state.
func (r *registry) add(one *route, config json.Marshaler, firstUpstream string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one.name != "" {
		if r.names == nil {
			r.names, r.byName = make(names), make(map[string]*route)
		}
		if isFirst, err := r.names.claim(one.name, config, holder{&one.place, firstUpstream}); err != nil || !isFirst {
			return err
		}
		r.byName[one.name] = one
	}
	r.routes = append(r.routes, one)
	if one.name == "" {
		if r.titles == nil {
			r.titles = make(map[string]bool)
		}
		r.titles[one.title] = true
	}
	return nil
}

// title returns what stands for a route in lists and logs: its name, or the label of its place, with
// its first upstream if another route has that label, too.
func (r *registry) title(one *route, firstUpstream string) string {
	if one.name != "" {
		return one.name
	}
	label := one.place.label(firstUpstream)
	r.mu.Lock()
	defer r.mu.Unlock()
	if (r.titles[label] || r.byName[label] != nil) && label != firstUpstream {
		return label + " (" + firstUpstream + ")"
	}
	return label
}

// inOrder returns the routes in the order in which the configuration has them.
func (r *registry) inOrder() []*route {
	all := r.all()
	slices.SortStableFunc(all, func(a, b *route) int { return comparePlaces(a.place, b.place) })
	return all
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
	return r.byName[name]
}

// names are the names that routes have, each with the configuration of the first that has it.
type names map[string]claim

type claim struct {
	config json.Marshaler
	where  fmt.Stringer // as it ends "the one …"
}

// claim notes that a route has a name. Another one may have the same name only if it has the
// same configuration: a site with two listeners is loaded for each of them, and is one route
// that is served in two places.
func (n names) claim(name string, config json.Marshaler, where fmt.Stringer) (isFirst bool, err error) {
	first, taken := n[name]
	switch {
	case !taken:
		n[name] = claim{config, where}
		return true, nil
	case sameJSON(first.config, config):
		return false, nil
	}
	return false, fmt.Errorf("name %q: another proxyos route already has it, the one %s; give each route its own name, or both the same configuration", name, first.where)
}

func sameJSON(a, b json.Marshaler) bool {
	encodedA, errA := a.MarshalJSON()
	encodedB, errB := b.MarshalJSON()
	return errA == nil && errB == nil && bytes.Equal(encodedA, encodedB)
}
