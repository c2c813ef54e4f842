package proxyos

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releaseTick is how often an instance looks at what it has counted, and decides.
const releaseTick = time.Second

// runReleases takes on the releases of the routes until the context ends. Without a release that is
// active it does nothing but look for one.
func (s *steering) runReleases(ctx context.Context) {
	ticker := time.NewTicker(releaseTick)
	defer ticker.Stop()
	exchanged := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !s.isRunning() {
			continue
		}
		active := s.activeReleases()
		for _, one := range active {
			s.takeOn(ctx, one, time.Now())
		}
		if now := time.Now(); len(active) > 0 && now.Sub(exchanged) >= s.interval {
			exchanged = now
			s.exchange(ctx, active)
		}
	}
}

// activeRelease is the release of a route that goes on.
type activeRelease struct {
	*route
	live  *liveRelease
	state *release.State // as it is followed
}

// activeReleases returns the releases that go on.
func (s *steering) activeReleases() (active []activeRelease) {
	doc, _, _ := s.store.memory.latest()
	for name := range doc.Releases {
		route := s.routes.named(name)
		if route == nil {
			continue
		}
		if state, _ := route.state.latestRelease(); state != nil && state.IsActive() {
			active = append(active, activeRelease{route, route.state.live.Load(), state})
		}
	}
	return active
}

// takeOn decides about a release, and has it done.
func (s *steering) takeOn(ctx context.Context, r activeRelease, now time.Time) {
	why := r.whyNoRelease()
	hasRelease := r.live.hasRelease(why == "")
	if why != "" {
		s.conclude(ctx, r, func(doc *document, state release.State, now time.Time) (release.State, error) {
			if !hasRelease && !s.isAlone(ctx) { // others have it in their configuration, which is rolled out
				return state, nil
			}
			return state.Stop(why, now)
		})
		return
	}
	if doc, _, _ := s.store.memory.latest(); doc.whySetElse(r.name) != "" {
		s.conclude(ctx, r, func(doc *document, state release.State, now time.Time) (release.State, error) {
			if why := doc.whySetElse(r.name); why != "" {
				return state.Stop(why, now)
			}
			return state, nil
		})
		return
	}
	plan := r.release.plan()
	alone := r.split.current().percent == 100
	d, isActive := r.live.tick(r.route.state.release.Load(), plan, r.isExact(r.state), alone, now.UTC())
	if !isActive || d.Kind == release.Wait || d.Version != r.state.Version { // it has just changed
		return
	}
	s.conclude(ctx, r, func(_ *document, state release.State, now time.Time) (release.State, error) {
		next, err := state.Following(plan).Apply(d, now)
		if err == nil && d.Kind == release.Advance {
			next = next.Adopting(plan)
		}
		return next, err
	})
}

// whyNoRelease says why the route can have no release; it is empty if it can.
func (r *route) whyNoRelease() string {
	switch {
	case r.staging == nil:
		return "the route has no staging group any more"
	case r.release == nil:
		return "`release` was removed from the route's configuration"
	}
	return ""
}

// whySetElse says who has set the share of a route in place of its release, which an instance may do
// that does not know of releases; it is empty if nobody has.
func (d *document) whySetElse(route string) string {
	state, o := d.release(route), d.Routes[route]
	percent, holds := state.Share()
	switch {
	case !holds:
		return ""
	case o == nil:
		return "the share was reset"
	case o.SetBy != bySelf || o.TrafficSplit != percent:
		return fmt.Sprintf("the share was set to %s by %s", percentText(o.TrafficSplit), o.SetBy)
	}
	return ""
}

// conclude makes a change of a release that no person has asked for: in the background, since the
// storage may be slow. Another instance may have decided first, and then nothing is changed. Until
// the storage takes the change, the release stays as it is, and the next tick decides again.
func (s *steering) conclude(ctx context.Context, r activeRelease, change func(*document, release.State, time.Time) (release.State, error)) {
	if !r.live.concluding.CompareAndSwap(false, true) {
		return
	}
	s.background.Go(func() {
		defer r.live.concluding.Store(false)
		var news releaseNews
		err := s.store.change(ctx, func(doc *document) (bool, error) {
			stored := doc.release(r.name)
			if stored == nil || stored.Version != r.state.Version || !stored.StartedAt.Equal(r.state.StartedAt) || !s.isRunning() {
				return false, nil
			}
			next, err := change(doc, *stored, time.Now().UTC().Round(0))
			if err != nil || next.Version == stored.Version {
				return false, err
			}
			news = releaseNews{stored, &next}
			s.writeRelease(ctx, doc, r.route, next)
			return true, nil
		}, false)
		switch {
		case err == nil:
			r.live.isRefused.Store(false)
			s.notify(r.route, news)
		case ctx.Err() == nil && r.live.isRefused.CompareAndSwap(false, true):
			s.logger.Error("the storage does not take what was decided about a release; the share stays as it is, and the release waits",
				zap.String("route", r.name), zap.Error(err))
		}
	})
}

// writeRelease puts the state of a release into a document that is being edited, and the share that it
// gives to staging.
func (s *steering) writeRelease(ctx context.Context, doc *document, route *route, next release.State) {
	doc.setRelease(route.name, next)
	percent, holds := next.Share()
	if o := doc.Routes[route.name]; !holds || o != nil && o.TrafficSplit == percent && o.SetBy == bySelf && len(o.Rolled) == 0 {
		return
	}
	doc.Routes[route.name] = doc.Routes[route.name].replacedBy(percent, route.split.configured.percent, s.instance, bySelf,
		s.configuredElsewhere(ctx, route.name))
}

// bySelf is who has set a share that a release has set.
const bySelf = "release"
