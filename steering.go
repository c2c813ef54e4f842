package proxyos

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// startupWait is how long the first requests after a start wait for the splits that were
// set at run time, if the storage is slow.
const startupWait = time.Second

// steering puts the splits that are set at run time in force: here, and through Caddy's
// storage in all instances of a cluster.
type steering struct {
	routes   *registry
	store    *overrideStore
	interval time.Duration // between reads of the storage
	logger   *zap.Logger

	synced chan struct{} // closed once the stored overrides are in force
	slow   atomic.Bool   // the storage is too slow, so requests do not wait for it
	wake   chan struct{} // asks to put the stored overrides in force again

	mu      sync.Mutex // held while overrides are put in force
	stopped bool
}

func newSteering(routes *registry, storage certmagic.Storage, interval time.Duration, logger *zap.Logger) *steering {
	s := &steering{routes: routes, interval: interval, logger: logger, synced: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.store = &overrideStore{storage: storage, logger: logger, apply: s.putInForce, held: s.inForce}
	return s
}

// runningSteering returns the steering of the running config, or nil.
func runningSteering() *steering {
	app, err := runningApp()
	if err != nil {
		return nil
	}
	return app.steering
}

// start follows the storage until the context ends. It waits until the storage has been read
// once, or only for startupWait if the storage is slow.
func (s *steering) start(ctx context.Context) {
	go s.follow(ctx)
	select {
	case <-s.synced:
	case <-time.After(startupWait):
		s.slow.Store(true)
		s.logger.Warn("the storage is slow; traffic splits that were set at run time apply once it answers")
	}
}

// stop leaves the splits to the config that runs from now on. That one reads the storage again:
// it may have read it before the last change that was made here.
func (s *steering) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	if successor := runningSteering(); successor != nil && successor != s {
		select {
		case successor.wake <- struct{}{}:
		default: // it is already asked to
		}
	}
}

// set changes the split of a named route, for all instances, from the next request on.
func (s *steering) set(ctx context.Context, route *route, percent float64, by string) error {
	if route.staging == nil {
		return caddy.APIError{
			HTTPStatus: http.StatusConflict,
			Err:        fmt.Errorf("route %q has no staging group to send requests to; add `staging <addresses...>` to its config", route.name),
		}
	}
	was := route.split.current().percent
	err := s.change(ctx, func(doc *document) bool {
		doc.Routes[route.name] = newOverride(percent, route.split.configured.percent, by)
		return true
	})
	return s.report(route, was, by, err)
}

// reset goes back to the configured split of a route.
func (s *steering) reset(ctx context.Context, route *route, by string) error {
	was := route.split.current().percent
	err := s.change(ctx, func(doc *document) bool {
		_, ok := doc.Routes[route.name]
		delete(doc.Routes, route.name)
		return ok
	})
	return s.report(route, was, by, err)
}

// change changes the stored overrides. They are in force when it returns.
func (s *steering) change(ctx context.Context, edit func(*document) bool) error {
	if err := s.store.change(ctx, edit); err != nil {
		return err
	}
	// a new config may have taken over, and may have read the storage before this change
	if successor := runningSteering(); successor != nil && successor != s {
		return successor.store.sync(ctx, true)
	}
	return nil
}

// report logs a change, or that it could not be stored.
func (s *steering) report(route *route, was float64, by string, err error) error {
	if err != nil {
		s.logger.Error("the traffic split was not changed", zap.String("route", route.name), zap.String("by", by), zap.Error(err))
		return caddy.APIError{
			HTTPStatus: http.StatusServiceUnavailable,
			Err:        fmt.Errorf("the traffic split of route %q was not changed: %w", route.name, err),
		}
	}
	s.logger.Info("traffic split changed", zap.String("route", route.name), zap.Float64("from", was),
		zap.Float64("to", route.split.current().percent), zap.String("by", by))
	return nil
}

// putInForce gives each named route its override, or none. A route shares its state with the
// route of that name in the running config. While another config is running, because this one
// has not fully started or was stopped, such routes are left to that config.
func (s *steering) putInForce(doc document, followed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	running := runningSteering()
	isAnothers := running != nil && running != s
	for _, route := range s.routes.all() {
		if route.name == "" || isAnothers && !route.isNew {
			continue
		}
		was := route.split.current().percent
		next := doc.Routes[route.name]
		if o := route.split.override.Load(); next == nil && o != nil && o.Against != route.split.configured.percent {
			continue // does not apply here, but the config before this one may still use it
		}
		route.split.override.Store(next)
		if now := route.split.current().percent; followed && now != was {
			s.logger.Info("traffic split changed to match the storage", zap.String("route", route.name),
				zap.Float64("from", was), zap.Float64("to", now))
		}
	}
}

// inForce returns the overrides in force as a document.
func (s *steering) inForce() document {
	doc := document{Routes: make(map[string]*override)}
	for _, route := range s.routes.all() {
		if o := route.split.overriding(); o != nil && route.name != "" {
			doc.Routes[route.name] = o
		}
	}
	return doc
}

// retire removes the overrides that were set against a configured split other than this
// config's.
func (s *steering) retire(ctx context.Context) {
	var stale []*route
	for _, route := range s.routes.all() {
		if o := route.split.override.Load(); o != nil && o.Against != route.split.configured.percent && o.retired.CompareAndSwap(false, true) {
			stale = append(stale, route)
			s.logger.Info("the configured traffic split was edited; the one that was set at run time no longer applies",
				zap.String("route", route.name), zap.Float64("configured", route.split.configured.percent),
				zap.Float64("retired", o.TrafficSplit), zap.Float64("set_against", o.Against))
		}
	}
	if len(stale) == 0 {
		return
	}
	err := s.change(ctx, func(doc *document) bool {
		before := len(doc.Routes)
		for _, route := range stale {
			if stored := doc.Routes[route.name]; stored != nil && stored.Against != route.split.configured.percent {
				delete(doc.Routes, route.name)
			}
		}
		return len(doc.Routes) < before
	})
	if err != nil {
		s.logger.Error("traffic splits that no longer apply are still in the storage", zap.Error(err))
	}
}

// follow puts the stored overrides in force, at once and then at each interval, until the
// context ends.
func (s *steering) follow(ctx context.Context) {
	retired := false
	sync := func(again bool) {
		if s.store.sync(ctx, again) != nil || retired { // sync logs its failures
			return
		}
		if runningSteering() == s { // before that, this config may still fail to start
			s.retire(ctx)
			retired = true
		}
	}
	sync(false)
	close(s.synced)
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			sync(false)
		case <-s.wake:
			sync(true)
		case <-ctx.Done():
			return
		}
	}
}

// await waits until the stored overrides are in force, or only for startupWait if the storage
// is slow. Usually there is nothing to wait for.
func (s *steering) await() {
	select {
	case <-s.synced:
		return
	default:
	}
	if s.slow.Load() {
		return
	}
	select {
	case <-s.synced:
	case <-time.After(startupWait):
		s.slow.Store(true)
	}
}
