package proxyos

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// startupWait is how long the first requests after a start wait for the splits that were
// set at run time, should the storage be slow.
const startupWait = time.Second

// setSplit changes the split of a named route, for all instances and from the next request
// on.
func (a *App) setSplit(ctx context.Context, route *Handler, percent float64, by string) error {
	if len(route.groups) < 2 {
		return caddy.APIError{
			HTTPStatus: http.StatusConflict,
			Err:        fmt.Errorf("route %q has no staging group to send a share to; add `staging <addresses...>` to its config", route.Name),
		}
	}
	was := route.split.current().percent
	err := a.change(ctx, func(doc *document) bool {
		doc.Routes[route.Name] = storedOverride{
			TrafficSplit: percent,
			Against:      route.split.configured.percent,
			SetAt:        time.Now().UTC().Round(0),
			SetBy:        by,
		}
		return true
	})
	return a.steered(route, was, by, err)
}

// resetSplit goes back to the configured split of a route.
func (a *App) resetSplit(ctx context.Context, route *Handler, by string) error {
	was := route.split.current().percent
	err := a.change(ctx, func(doc *document) bool {
		_, ok := doc.Routes[route.Name]
		delete(doc.Routes, route.Name)
		return ok
	})
	return a.steered(route, was, by, err)
}

// change changes the stored overrides, which are in force when it returns.
func (a *App) change(ctx context.Context, edit func(*document) bool) error {
	if err := a.overrides.change(ctx, edit); err != nil {
		return err
	}
	// a new config that has taken over meanwhile may have read the storage before this
	if successor, err := runningApp(); err == nil && successor != a {
		return successor.overrides.sync(ctx, true)
	}
	return nil
}

// steered reports a change that was made, or that could not be stored.
func (a *App) steered(route *Handler, was float64, by string, err error) error {
	if err != nil {
		a.logger.Error("the traffic split is not changed", zap.String("route", route.Name), zap.String("by", by), zap.Error(err))
		return caddy.APIError{
			HTTPStatus: http.StatusServiceUnavailable,
			Err:        fmt.Errorf("the traffic split of route %q is not changed: %w", route.Name, err),
		}
	}
	a.logger.Info("traffic split changed", zap.String("route", route.Name), zap.Float64("from", was),
		zap.Float64("to", route.split.current().percent), zap.String("by", by))
	return nil
}

// putInForce gives each named route its override, or none. Routes share their state with the
// same ones of the config that runs: while that is another one, because this one has not
// started altogether or was stopped, they are left to it.
func (a *App) putInForce(doc document, followed bool) {
	a.inForceMu.Lock()
	defer a.inForceMu.Unlock()
	if a.stopped {
		return
	}
	running, err := runningApp()
	isAnothers := err == nil && running != a
	for _, route := range a.all() {
		if route.Name == "" || isAnothers && !route.isNew {
			continue
		}
		was := route.split.current().percent
		var next *override
		if stored, ok := doc.Routes[route.Name]; ok {
			next = &override{
				share:   newShare(stored.TrafficSplit),
				Against: stored.Against,
				Set:     stored.SetAt,
				By:      stored.SetBy,
			}
		}
		if o := route.split.override.Load(); next == nil && o != nil && o.Against != route.split.configured.percent {
			continue // means nothing here, and the config before this one may still serve by it
		}
		route.split.override.Store(next)
		if now := route.split.current().percent; followed && now != was {
			a.logger.Info("traffic split changed, as the storage says", zap.String("route", route.Name),
				zap.Float64("from", was), zap.Float64("to", now))
		}
	}
}

// inForce returns the overrides in force as a document.
func (a *App) inForce() document {
	doc := document{Routes: make(map[string]storedOverride)}
	for _, route := range a.all() {
		if o := route.split.override.Load(); o != nil && route.Name != "" && route.split.current() == &o.share {
			doc.Routes[route.Name] = storedOverride{TrafficSplit: o.share.percent, Against: o.Against, SetAt: o.Set, SetBy: o.By}
		}
	}
	return doc
}

// retire removes the overrides that were set against another configured split than the
// one of this config.
func (a *App) retire(ctx context.Context) {
	var stale []*Handler
	for _, route := range a.all() {
		if o := route.split.override.Load(); o != nil && o.Against != route.split.configured.percent && o.retired.CompareAndSwap(false, true) {
			stale = append(stale, route)
			a.logger.Info("the configured traffic split was edited; the one that was set at run time is retired",
				zap.String("route", route.Name), zap.Float64("configured", route.split.configured.percent),
				zap.Float64("retired", o.share.percent), zap.Float64("set_against", o.Against))
		}
	}
	if len(stale) == 0 {
		return
	}
	err := a.change(ctx, func(doc *document) bool {
		before := len(doc.Routes)
		for _, route := range stale {
			if doc.Routes[route.Name].Against != route.split.configured.percent {
				delete(doc.Routes, route.Name)
			}
		}
		return len(doc.Routes) < before
	})
	if err != nil {
		a.logger.Error("retired traffic splits are still in the storage", zap.Error(err))
	}
}

// follow puts the stored overrides in force, at once and at each interval, until the
// context ends.
func (a *App) follow(ctx context.Context) {
	retired := false
	sync := func(again bool) {
		if a.overrides.sync(ctx, again) != nil || retired { // it logs its failures itself
			return
		}
		if running, err := runningApp(); err == nil && running == a { // it may yet fail to start
			a.retire(ctx)
			retired = true
		}
	}
	sync(false)
	close(a.synced)
	ticker := time.NewTicker(time.Duration(a.SyncInterval))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			sync(false)
		case <-a.wake:
			sync(true)
		case <-ctx.Done():
			return
		}
	}
}

// hasSynced tells whether the first requests after a start have nothing to wait for.
func (a *App) hasSynced() bool {
	select {
	case <-a.synced:
		return true
	default:
		return a.slow.Load()
	}
}

// awaitOverrides waits until the stored overrides are in force, or for a moment if the
// storage is slow.
func (a *App) awaitOverrides() {
	select {
	case <-a.synced:
	case <-time.After(startupWait):
		a.slow.Store(true)
	}
}

// runningRoute returns the route of that name in the config that runs, or nil.
func runningRoute(name string) *Handler {
	if app, err := runningApp(); err == nil {
		return app.route(name)
	}
	return nil
}

// route returns the route of that name, or nil.
func (a *App) route(name string) *Handler {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byName[name]
}
