package proxyos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// steeredUpstreams is what is set at run time for the upstreams of a named route in this process.
// The configs that have the route share it during a reload, and each goes by what it has configured.
type steeredUpstreams struct {
	mu     sync.Mutex
	latest upstreamOverrides
	routes []*route
	told   upstreamOverrides // those whose end is logged
}

// join takes on a config's route, which must be ready to choose upstreams. It must leave.
func (s *steeredUpstreams) join(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes = append(s.routes, r)
	r.followUpstreams(s.latest, r.steering.instance)
}

func (s *steeredUpstreams) leave(left *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes = slices.DeleteFunc(s.routes, func(other *route) bool { return other == left })
}

// put has all configs follow what is set, and returns what has changed for one of them.
func (s *steeredUpstreams) put(overrides upstreamOverrides, of *route) (changed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = overrides
	for _, route := range s.routes {
		if now := route.followUpstreams(overrides, route.steering.instance); route == of {
			changed = now
		}
	}
	return changed
}

// upstreamChange is the body of a PATCH of an upstream.
type upstreamChange struct {
	State  *string `json:"state,omitempty"`
	Weight *int    `json:"weight,omitempty"`
	By     string  `json:"by"`
	Force  bool    `json:"force,omitempty"` // even if nobody is left to serve requests
}

// setUpstream changes what is set for an upstream of a route, for all instances, from the next
// request on.
func (s *steering) setUpstream(ctx context.Context, route *route, dial string, c upstreamChange) error {
	if err := route.refuseUpstream(dial, c); err != nil {
		return err
	}
	return s.changeUpstream(ctx, route, dial, c.By, func(o *upstreamOverride) *upstreamOverride {
		return o.replacedBy(c, s.instance, route.configured(dial), route.hasWeight(dial, c.Weight))
	})
}

// resetUpstream goes back to what is configured for an upstream.
func (s *steering) resetUpstream(ctx context.Context, route *route, dial, by string) error {
	return s.changeUpstream(ctx, route, dial, by, func(*upstreamOverride) *upstreamOverride { return nil })
}

// upstreamConflictError says that another instance has changed an upstream, and this one did not
// know.
type upstreamConflictError struct{ now *upstreamOverride }

func (e *upstreamConflictError) Error() string {
	if e.now == nil {
		return "another instance has reset it meanwhile; do it again if you still want to"
	}
	return fmt.Sprintf("it has meanwhile been set to %s at %s by %q; do it again to replace that",
		e.now.text(), e.now.SetAt.Local().Format(time.DateTime), e.now.SetBy)
}

// text says what is set.
func (o *upstreamOverride) text() string {
	switch {
	case o == nil:
		return "as configured"
	case o.Weight == nil:
		return "drained"
	case o.Drained:
		return fmt.Sprintf("drained, weight %d", *o.Weight)
	}
	return fmt.Sprintf("weight %d", *o.Weight)
}

// changeUpstream makes a person's change of what is set for an upstream. It is in force when it
// returns.
func (s *steering) changeUpstream(ctx context.Context, route *route, dial, by string, edit func(*upstreamOverride) *upstreamOverride) error {
	var was, now *upstreamOverride
	err := s.store.change(ctx, func(doc *document) (bool, error) {
		known, _, _ := s.store.memory.latest()
		was = doc.Upstreams[route.name][dial]
		if !was.isSame(known.Upstreams[route.name][dial]) {
			return false, &upstreamConflictError{was}
		}
		if now = edit(was); now == nil && was == nil {
			return false, nil
		}
		own := doc.upstreamsOf(route.name)
		if own[dial] = now; now == nil {
			delete(own, dial)
		}
		if len(own) == 0 {
			delete(doc.Upstreams, route.name)
		}
		return true, nil
	}, true)
	s.hasChanged()
	if err != nil {
		s.logger.Error("the upstream was not changed", zap.String("route", route.name), zap.String("upstream", dial), zap.String("by", by), zap.Error(err))
		status := http.StatusServiceUnavailable
		if _, conflict := errors.AsType[*upstreamConflictError](err); conflict {
			status = http.StatusConflict
		}
		return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf("the upstream %s of route %q was not changed: %w", dial, route.name, err)}
	}
	s.logger.Info("upstream changed", zap.String("route", route.name), zap.String("upstream", dial),
		zap.String("from", was.text()), zap.String("to", now.text()), zap.String("by", by))
	return nil
}

// refuseUpstream returns an error if a change leaves nobody in production to serve requests, or
// would have no effect.
func (r *route) refuseUpstream(dial string, c upstreamChange) error {
	for _, g := range r.groups {
		if c.Weight != nil && g.policy != nil && g.has(dial) {
			return caddy.APIError{HTTPStatus: http.StatusConflict,
				Err: fmt.Errorf("%s of route %q chooses upstreams by a policy of its own, which no weight changes; remove lb_policy, or drain the upstream", g.name, r.name)}
		}
	}
	leaves := c.State != nil && *c.State == stateDrain || c.Weight != nil && *c.Weight == 0
	if c.Force || !leaves || !r.production.has(dial) || r.production.dynamic != nil {
		return nil
	}
	for _, t := range r.production.targets {
		if t.backend.dial != dial && !t.isDrained() && (t.weight() > 0 || r.production.policy != nil) {
			return nil
		}
	}
	return caddy.APIError{HTTPStatus: http.StatusConflict,
		Err: fmt.Errorf("%s of route %q is the last upstream of production that is to get requests; without it, production answers 503; %s to do it all the same",
			printable.Short(dial), r.name, forceInAPI)}
}

// has tells whether the group has a configured upstream at a dial address.
func (g *group) has(dial string) bool {
	return slices.ContainsFunc(g.targets, func(t *target) bool { return t.backend.dial == dial })
}

// hasWeight tells whether a weight is the configured one of all the route's upstreams at a dial
// address.
func (r *route) hasWeight(dial string, weight *int) bool {
	if weight == nil {
		return false
	}
	for _, g := range r.groups {
		for _, t := range g.targets {
			if t.backend.dial == dial && t.backend.weight != *weight {
				return false
			}
		}
	}
	return true
}

// upstreamAt returns the dial address of the route's upstream that somebody names by it, or by the
// address as it is written.
func (r *route) upstreamAt(named string) (dial string, ok bool) {
	for _, g := range r.groups {
		for _, t := range g.targets {
			if t.backend.dial == named || t.backend.address.String() == named {
				return t.backend.dial, true
			}
		}
	}
	return "", false
}

// reviewUpstreams tells whether the storage is yet to be told that the configuration of upstreams
// for which something is set was edited here, and logs each once.
func (s *steering) reviewUpstreams(route *route) (untold bool) {
	state := &route.state.upstreams
	state.mu.Lock()
	defer state.mu.Unlock()
	for dial, o := range state.latest {
		if !o.isEdited(s.instance, route.configured(dial)) {
			continue
		}
		untold = true
		if state.told[dial].isSame(o) {
			continue
		}
		if state.told == nil {
			state.told = make(upstreamOverrides)
		}
		state.told[dial] = o
		s.logger.Info("the configuration of the upstream was edited; what was set at run time no longer applies",
			zap.String("route", route.name), zap.String("upstream", dial), zap.String("retired", o.text()))
	}
	return untold
}

// noteUpstreams marks in the document what this instance no longer goes by.
func (s *steering) noteUpstreams(doc *document, route *route, now time.Time) (changed bool) {
	for dial, o := range doc.Upstreams[route.name] {
		if o.isEdited(s.instance, route.configured(dial)) {
			doc.upstreamsOf(route.name)[dial], changed = o.withRolled(s.instance, now), true
		}
	}
	return changed
}
