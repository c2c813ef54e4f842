package proxyos

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releaseRefusal says why a person's change of a release cannot be made.
type releaseRefusal struct{ reason error }

func (*releaseRefusal) isConflict() {}

func (e *releaseRefusal) Error() string { return e.reason.Error() }

// startRelease starts the release of a route.
func (s *steering) startRelease(ctx context.Context, route *route, by, seen string, force bool) error {
	switch {
	case route.staging == nil:
		return releaseConflict("route %q has no staging group to release; add `staging <addresses...>` to its config", route.name)
	case route.release == nil:
		return releaseConflict("route %q has no `release` in its config; add it, with nothing else it has the defaults", route.name)
	}
	plan := route.release.plan()
	state, _ := route.state.latestRelease()
	isActive := state != nil && state.IsActive() // which is refused in any case
	if now := route.split.current().percent; !force && !plan.DryRun && !isActive {
		if now > plan.Steps[0] {
			return releaseConflict("staging of route %q has %s now, and a release would begin with taking it back to %s; swap, or reset the share first; %s to start all the same",
				route.name, percentText(now), percentText(plan.Steps[0]), forceInAPI)
		}
		if err := route.refuse(ctx, plan.Steps[0]); err != nil {
			return err
		}
	}
	return s.changeRelease(ctx, route, by, seen, "start", func(state release.State, now time.Time) (release.State, error) {
		return release.Start(plan, state, now)
	})
}

func releaseConflict(format string, values ...any) error {
	return caddy.APIError{HTTPStatus: http.StatusConflict, Err: fmt.Errorf(format, values...)}
}

// pauseRelease, resumeRelease, approveRelease and abortRelease do what a person says about a release.
func (s *steering) pauseRelease(ctx context.Context, route *route, by, seen string) error {
	return s.changeRelease(ctx, route, by, seen, "pause", func(state release.State, now time.Time) (release.State, error) {
		return state.Pause("paused", now)
	})
}

func (s *steering) resumeRelease(ctx context.Context, route *route, by, seen string) error {
	return s.changeRelease(ctx, route, by, seen, "resume", func(state release.State, now time.Time) (release.State, error) {
		return state.Resume("resumed", now)
	})
}

func (s *steering) approveRelease(ctx context.Context, route *route, step float64, by, seen string) error {
	return s.changeRelease(ctx, route, by, seen, "approve", func(state release.State, now time.Time) (release.State, error) {
		if route.release != nil {
			state = state.Following(route.release.plan())
		}
		return state.Approve(step, now)
	})
}

func (s *steering) abortRelease(ctx context.Context, route *route, by, seen string) error {
	return s.changeRelease(ctx, route, by, seen, "abort", func(state release.State, now time.Time) (release.State, error) {
		return state.Abort("aborted", now)
	})
}

// changeRelease makes a person's change of the release of a route. It is in force when it returns.
func (s *steering) changeRelease(ctx context.Context, route *route, by, seen, what string, change func(release.State, time.Time) (release.State, error)) error {
	var news releaseNews
	err := s.store.change(ctx, func(doc *document) (bool, error) {
		known, _, _ := s.store.memory.latest()
		stored := doc.release(route.name)
		if !isSameRelease(stored, known.release(route.name)) {
			return false, &releaseRefusal{fmt.Errorf("it has changed meanwhile: %s; do it again if you still want to", releaseText(stored))}
		}
		version := releaseVersion(stored)
		if what == actionPause || what == actionAbort { // which must not have to race with its steps
			seen, version = whichRelease(seen), whichRelease(version)
		}
		if err := checkSeen(seen, version, releaseText(stored)); err != nil {
			return false, err
		}
		before := release.State{}
		if stored != nil {
			before = *stored
		}
		next, err := change(before, time.Now().UTC().Round(0))
		if err != nil {
			return false, &releaseRefusal{err}
		}
		if by != "" {
			next.Reason += " by " + by
		}
		news = releaseNews{stored, &next}
		s.writeRelease(ctx, doc, route, next)
		return true, nil
	}, true)
	s.hasChanged()
	if err != nil {
		s.logger.Error("the release was not changed", zap.String("route", route.name), zap.String("what", what), zap.String("by", by), zap.Error(err))
		return notChanged(fmt.Sprintf("the release of route %q", route.name), err)
	}
	s.notify(route, news)
	return nil
}

// isSameRelease tells whether two states are the same but for how they count.
func isSameRelease(a, b *release.State) bool {
	if a == nil || b == nil {
		return a == b
	}
	return !releaseNews{a, b}.isNews()
}

// releaseText says where a release is.
func releaseText(s *release.State) string {
	if s == nil {
		return "there is none"
	}
	return fmt.Sprintf("it is %s at %s (%s)", phaseText(s.Phase), percentText(s.Percent()), s.Reason)
}

// phaseText names a phase in words.
func phaseText(p release.Phase) string {
	if p == release.RolledBack {
		return "rolled back"
	}
	return string(p)
}
