package proxyos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// steering puts the splits that are set at run time in force: here, and through Caddy's
// storage in all instances of a cluster.
type steering struct {
	routes   *registry
	store    *overrideStore
	interval time.Duration // between reads of the storage
	logger   *zap.Logger
	instance string // the ID of this instance

	running func() *steering // of the running config, or nil

	synced  chan struct{} // closed once the stored overrides are in force
	slow    atomic.Bool   // the storage is too slow, so requests do not wait for it
	wake    chan struct{} // asks to put the stored overrides in force again
	tending atomic.Bool   // this instance is about to write to the storage of its own accord
	untold  atomic.Bool   // that failed and is logged

	exchanging  atomic.Bool                    // the counts of releases are being written and read
	unexchanged atomic.Bool                    // that failed and is logged
	announcing  atomic.Bool                    // this instance's record is being written
	announced   atomic.Pointer[instanceRecord] // the latest one
	purged      time.Time                      // when those of others were last looked through

	cancel     context.CancelFunc
	background sync.WaitGroup // what may still use the storage

	mu      sync.Mutex // held while overrides are put in force
	loaded  *document  // what was stored when this config was loaded; nil once it is settled, and if it was not read
	ran     bool       // this config runs, or has run
	settled bool       // it knows what was set before it was loaded
	stopped bool
}

// memories holds this process's memory of the stored document, while a config runs.
var memories = caddy.NewUsagePool()

func newSteering(routes *registry, storage certmagic.Storage, interval time.Duration, logger *zap.Logger) *steering {
	s := &steering{routes: routes, interval: interval, logger: logger, instance: instanceID(), running: runningSteering,
		synced: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.store = newOverrideStore(storage, s.instance, s.putInForce, logger)
	return s
}

// instanceID returns Caddy's ID of this instance, which survives restarts.
var instanceID = sync.OnceValue(func() string {
	id, err := caddy.InstanceID()
	if err != nil { // it cannot be kept, so each start is another instance
		return rand.Text()
	}
	return id.String()
})

// runningSteering returns the steering of the running config, or nil.
func runningSteering() *steering {
	app, err := runningApp()
	if err != nil {
		return nil
	}
	return app.steering
}

// isRunning tells whether this config runs. Before that, it may still fail to start.
func (s *steering) isRunning() bool { return s.running() == s }

// set changes the split of a named route, for all instances, from the next request on.
func (s *steering) set(ctx context.Context, route *route, percent float64, by, seen string) error {
	if route.staging == nil {
		return caddy.APIError{
			HTTPStatus: http.StatusConflict,
			Err:        fmt.Errorf("route %q has no staging group to send requests to; add `staging <addresses...>` to its config", route.name),
		}
	}
	return s.change(ctx, route, by, seen, func(doc *document) bool {
		doc.Routes[route.name] = doc.Routes[route.name].replacedBy(percent, route.split.configured.percent, s.instance, by,
			s.configuredElsewhere(ctx, route.name))
		doc.stopRelease(route.name, fmt.Sprintf("the share was set to %s by %s", percentText(percent), by))
		return true
	})
}

// reset goes back to the configured split of a route.
func (s *steering) reset(ctx context.Context, route *route, by, seen string) error {
	return s.change(ctx, route, by, seen, func(doc *document) bool {
		_, ok := doc.Routes[route.name]
		delete(doc.Routes, route.name)
		stopped := doc.stopRelease(route.name, "the share was reset by "+by)
		doc.resetBy = map[string]string{route.name: by}
		return ok || stopped
	})
}

// conflictError says that another instance has changed something, and this one did not know.
type conflictError struct {
	now string // what it is set to; empty if it was reset
	at  time.Time
	by  string
}

func (*conflictError) isConflict() {}

func (e *conflictError) Error() string {
	if e.now == "" {
		return "another instance has reset it meanwhile; do it again if you still want to"
	}
	return fmt.Sprintf("it has meanwhile been set to %s at %s by %q; do it again to replace that", e.now, e.at.Local().Format(time.DateTime), e.by)
}

// notChanged is the answer to a change that was not made.
func notChanged(what string, err error) error {
	status := http.StatusServiceUnavailable
	if _, conflict := errors.AsType[conflict](err); conflict {
		status = http.StatusConflict
	}
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf("%s was not changed: %w", what, err)}
}

// change makes a person's change of a route's stored override. It is in force when change returns.
func (s *steering) change(ctx context.Context, route *route, by, seen string, edit func(*document) bool) error {
	was := route.split.current().percent
	var news releaseNews
	err := s.store.change(ctx, func(doc *document) (bool, error) {
		known, _, _ := s.store.memory.latest()
		if now := doc.Routes[route.name]; now.key() != known.Routes[route.name].key() {
			return false, now.conflict()
		}
		if err := checkSeen(seen, route.shareVersion(doc.Routes[route.name]), "it is "+percentText(route.split.current().percent)); err != nil {
			return false, err
		}
		before := doc.release(route.name)
		changed := edit(doc)
		news = releaseNews{before, doc.release(route.name)}
		return changed, nil
	}, true)
	s.hasChanged()
	if err != nil {
		s.logger.Error("the traffic split was not changed", zap.String("route", route.name), zap.String("by", by), zap.Error(err))
		return notChanged(fmt.Sprintf("the traffic split of route %q", route.name), err)
	}
	s.notify(route, news)
	s.logger.Info("traffic split changed", zap.String("route", route.name), zap.Float64("from", was),
		zap.Float64("to", route.split.current().percent), zap.String("by", by))
	return nil
}

// hasChanged is called when a person has tried to change the stored document here.
func (s *steering) hasChanged() {
	// a new config may have taken over, and may have read the storage before this change
	if successor := s.running(); successor != nil && successor != s {
		successor.store.follow()
	}
	select {
	case s.wake <- struct{}{}: // to tell the others
	default:
	}
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
	running := s.running()
	isAnothers := running != nil && running != s
	s.ran = s.ran || running == s
	for _, route := range s.routes.all() {
		if route.name == "" || isAnothers && (s.ran || !route.isNew) {
			continue
		}
		changed := route.state.upstreams.put(doc.Upstreams[route.name], route)
		if followed && len(changed) > 0 {
			s.logger.Info("upstreams changed to match the storage", zap.String("route", route.name), zap.Strings("upstreams", dialsOf(changed)))
		}
		was := route.split.current().percent
		s.see(route, doc.Routes[route.name])
		route.state.override.put(doc.Routes[route.name])
		news := route.followRelease(doc.release(route.name), s.ran)
		now := route.split.current().percent
		if s.ran { // so what was before has been in force
			s.store.memory.changes.upstreamsChanged(route, changed, doc.resetBy)
			if news.isNews() {
				s.store.memory.changes.releaseChanged(route, news)
			}
			if now != was {
				s.store.memory.changes.splitChanged(route, was, doc.resetBy[route.name])
				route.emitSplit(was, doc.resetBy[route.name])
			}
		}
		if now != was && followed {
			s.logger.Info("traffic split changed to match the storage", zap.String("route", route.name),
				zap.Float64("from", was), zap.Float64("to", now))
		}
	}
}

// see notes an override of a route that is stored. The lock must be held.
func (s *steering) see(route *route, o *override) {
	var settled *splitter
	if s.settled {
		settled = route.split
	}
	route.state.override.see(o, settled)
}

// review decides again about all overrides, since an hour may be over or this config may run
// only now. It tells whether the storage is yet to be told.
func (s *steering) review(now time.Time) (untold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || !s.isRunning() {
		return false
	}
	for _, route := range s.routes.all() {
		if route.name == "" {
			continue
		}
		was := route.split.current().percent
		if o, v := route.state.override.review(route.split, now); o != nil {
			if route.split.current().percent != was {
				s.store.memory.changes.splitChanged(route, was, "")
				route.emitSplit(was, "")
			}
			s.tell(route, o, v)
			untold = untold || v.edited || v.joins
		}
		untold = s.reviewUpstreams(route) || untold
	}
	return untold
}

// tell logs what has become of an override.
func (s *steering) tell(route *route, o *override, v verdict) {
	configured := route.split.configured.percent
	first, _ := o.firstRolled()
	_, isMarked := o.Rolled[s.instance]
	switch state := &route.state.override; {
	case v.edited && state.tells(o, isEdited):
		s.logger.Info("the configured traffic split was edited; the one that was set at run time no longer applies",
			zap.String("route", route.name), zap.Float64("configured", configured),
			zap.Float64("retired", o.TrafficSplit), zap.Float64("set_against", o.Against))
	case v.unclear && state.tells(o, isUnclear):
		s.logger.Warn("whether this instance is rolled out is not clear; the traffic split that was set at run time still applies",
			zap.String("route", route.name), zap.Float64("configured", configured), zap.Float64("applies", o.TrafficSplit),
			zap.Time("until", first.Add(rolloutTime)), zap.String("to_end_it", "caddy proxyos reset "+route.name))
	case !v.holds && !v.edited && !isMarked && state.tells(o, isOver):
		s.logger.Info("another instance was rolled out long ago; here, too, the configured traffic split applies",
			zap.String("route", route.name), zap.Float64("configured", configured), zap.Float64("retired", o.TrafficSplit))
	}
}

// note writes down which instances have an override in force, and which go by an edited
// configuration.
func (s *steering) note(doc *document) (changed bool, err error) {
	if !s.isRunning() {
		return false, nil
	}
	now := time.Now()
	for _, route := range s.routes.all() {
		changed = s.noteUpstreams(doc, route, now) || changed
		o := doc.Routes[route.name]
		if o == nil {
			continue
		}
		s.mu.Lock()
		s.see(route, o)
		s.mu.Unlock()
		configured := route.split.configured.percent
		switch v := route.state.override.judge(route.split, o, now); {
		case v.edited:
			doc.stopRelease(route.name, "the configured traffic_split was edited")
			doc.Routes[route.name], changed = o.withRolled(s.instance, configured, now), true
		case v.joins:
			doc.Routes[route.name], changed = o.withInstance(s.instance, configured), true
		}
	}
	return changed, nil
}
