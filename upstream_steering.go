package proxyos

import (
	"context"
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
func (s *steeredUpstreams) put(overrides upstreamOverrides, of *route) (changed []upstreamNews) {
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
	Seen   string  `json:"seen,omitempty"`  // the version that is changed; if it is another one by now, nothing is
}

// setUpstream changes what is set for an upstream of a route, for all instances, from the next
// request on.
func (s *steering) setUpstream(ctx context.Context, route *route, dial string, c upstreamChange) error {
	if c.Weight != nil {
		if err := route.refuseWeight(dial); err != nil {
			return err
		}
	}
	return s.changeUpstream(ctx, route, dial, c, func(o *upstreamOverride) *upstreamOverride {
		return o.replacedBy(c, s.instance, route.configured(dial), route.hasWeight(dial, c.Weight))
	})
}

// resetUpstream goes back to what is configured for an upstream. It may be one that the route no
// longer has.
func (s *steering) resetUpstream(ctx context.Context, route *route, dial string, c upstreamChange) error {
	return s.changeUpstream(ctx, route, dial, c, func(*upstreamOverride) *upstreamOverride { return nil })
}

// upstreamRefusal says why a change is not made unless it is forced.
type upstreamRefusal struct{ reason string }

func (*upstreamRefusal) isConflict() {}

func (e *upstreamRefusal) Error() string {
	return e.reason + "; " + forceInAPI + " to do it all the same"
}

// changeUpstream makes a person's change of what is set for an upstream. It is in force when it
// returns.
func (s *steering) changeUpstream(ctx context.Context, route *route, dial string, c upstreamChange, edit func(*upstreamOverride) *upstreamOverride) error {
	by, isAlone := c.By, s.isAlone(ctx)
	var was, now *upstreamOverride
	err := s.store.change(ctx, func(doc *document) (bool, error) {
		known, _, _ := s.store.memory.latest()
		was = doc.Upstreams[route.name][dial]
		if !was.isSame(known.Upstreams[route.name][dial]) {
			return false, was.conflict()
		}
		if err := checkSeen(c.Seen, was.version(), "it is "+was.text()); err != nil {
			return false, err
		}
		if now = edit(was); now == nil && was == nil {
			return false, nil
		}
		doc.resetBy = map[string]string{resetKey(route.name, dial): by}
		if !c.Force {
			if err := route.refuseUpstream(doc.Upstreams[route.name], dial, was, now, s.instance, isAlone); err != nil {
				return false, err
			}
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
		return notChanged(fmt.Sprintf("the upstream %s of route %q", dial, route.name), err)
	}
	s.logger.Info("upstream changed", zap.String("route", route.name), zap.String("upstream", dial),
		zap.String("from", was.text()), zap.String("to", now.text()), zap.String("by", by))
	return nil
}

// resetKey names an upstream of a route among those who have reset something.
func resetKey(route, dial string) string { return route + "\n" + dial }

// refuseWeight returns an error if a weight would have no effect.
func (r *route) refuseWeight(dial string) error {
	for _, g := range r.groups {
		if g.policy != nil && g.has(dial) {
			return caddy.APIError{HTTPStatus: http.StatusConflict,
				Err: fmt.Errorf("%s of route %q chooses upstreams by a policy of its own, which no weight changes; remove lb_policy, or drain the upstream", g.name, r.name)}
		}
	}
	return nil
}

// isAlone tells whether no other instance has been heard of lately.
func (s *steering) isAlone(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout/5)
	defer cancel()
	records, err := s.instances(ctx)
	if err != nil {
		s.logger.Debug("the other instances are not known", zap.Error(err))
	}
	return !slices.ContainsFunc(records, func(r instanceRecord) bool { return r.ID != s.instance && !r.silent(time.Now()) })
}

// refuseUpstream returns an error if a change takes back what others rely on, or leaves nobody in a
// group that could serve its requests. all is what is set for the route's upstreams, was and now
// for the one that is changed.
func (r *route) refuseUpstream(all upstreamOverrides, dial string, was, now *upstreamOverride, instance string, isAlone bool) error {
	if configured := r.configured(dial); !isAlone && was != nil && configured != "" && !was.holds(instance, configured) {
		return &upstreamRefusal{fmt.Sprintf("%s was set to %s at %s by %q on an instance that has another configuration of it, and would lose that",
			printable.Short(dial), was.text(), was.SetAt.Local().Format(time.DateTime), was.SetBy)}
	}
	for _, g := range r.groups {
		if !g.has(dial) || g.dynamic != nil || g.name == staging && r.fallback {
			continue
		}
		var left, up, before, upBefore int // who may be chosen then and now, and of those who is up
		for _, t := range g.targets {
			isUp := g.isProven(t.upstream)
			if g.chooses(t, r.inForce(all, dial, now, t, instance)) {
				if left++; isUp {
					up++
				}
			}
			if g.chooses(t, t.set.Load()) {
				if before++; isUp {
					upBefore++
				}
			}
		}
		switch {
		case left == 0 && before > 0:
			return &upstreamRefusal{fmt.Sprintf("%s is the last upstream of %s in route %q that is to get requests; without it, they are answered with 503", printable.Short(dial), g.name, r.name)}
		case up == 0 && upBefore > 0:
			return &upstreamRefusal{fmt.Sprintf("%s is the last upstream of %s in route %q that is up; the others are down or on trial", printable.Short(dial), g.name, r.name)}
		}
	}
	return nil
}

// inForce returns what is in force for an upstream where one of them is changed.
func (r *route) inForce(all upstreamOverrides, changed string, now *upstreamOverride, t *target, instance string) *upstreamOverride {
	dial := t.backend.dial
	o := all[dial]
	if dial == changed {
		o = now
	}
	if o == nil || !o.holds(instance, r.configured(dial)) {
		return nil
	}
	return o
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
// address as it is written, with or without a scheme; or of one that it no longer has, but for which
// something is set.
func (r *route) upstreamAt(named string) (dial string, ok bool) {
	for _, g := range r.groups {
		for _, t := range g.targets {
			if t.backend.isNamed(named) {
				return t.backend.dial, true
			}
		}
	}
	r.state.upstreams.mu.Lock()
	defer r.state.upstreams.mu.Unlock()
	_, ok = r.state.upstreams.latest[named]
	return named, ok
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
	var own upstreamOverrides // to be edited
	for dial, o := range doc.Upstreams[route.name] {
		if !o.isEdited(s.instance, route.configured(dial)) {
			continue
		}
		if own == nil {
			own = doc.upstreamsOf(route.name)
		}
		own[dial] = o.withRolled(s.instance, now)
	}
	return own != nil
}
