package proxyos

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// The events that routes emit. Their data has "route", and what docs/operations.md says.
const (
	splitEvent       = "proxyos.split"
	upstreamEvent    = "proxyos.upstream"
	groupEvent       = "proxyos.group"
	certificateEvent = "proxyos.certificate"
	releaseEvent     = "proxyos.release"
)

// maxPendingEvents is how many events wait at most for subscribers that are slow.
const maxPendingEvents = 10_000

// events tells the subscribers of a config what happens to its routes, through Caddy's events app.
// A subscriber may take its time, so a goroutine calls them, and nobody else waits. It begins when
// the config runs: only then has the events app all subscribers. When the config stops, they still
// get what has happened, but not for longer than stopWait.
type events struct {
	app       *caddyevents.App
	isRunning func() bool // whether the config runs
	logger    *zap.Logger

	hasBegun atomic.Bool // the config has been seen running
	isOver   atomic.Bool // nobody is told anything any more
	stopping chan struct{}
	done     chan struct{}
	wake     chan struct{} // something is pending

	mu      sync.Mutex
	pending []event
	isFull  bool // and that is logged
}

// event is one event of a route.
type event struct {
	name string
	from *route
	data map[string]any
}

func newEvents(app *caddyevents.App, isRunning func() bool, logger *zap.Logger) *events {
	return &events{app: app, isRunning: isRunning, logger: logger,
		stopping: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// emit tells whoever has subscribed to an event of the route. It does not wait for them. The data
// must not be used afterwards.
func (r *route) emit(name string, data map[string]any) {
	if r.events == nil {
		return
	}
	data["route"] = r.title
	r.events.add(event{name, r, data})
}

// emitSplit tells that the route's share has changed, and who has changed it: whoever set the
// one that is in force, or has reset it.
func (r *route) emitSplit(was float64, resetBy string) {
	by := resetBy
	if o := r.split.override.Load(); o != nil {
		by = o.SetBy
	}
	r.emit(splitEvent, map[string]any{"from": was, "to": r.split.current().percent, "by": by})
}

// isHeard tells whether anybody has subscribed to an event, as far as that is known.
func (e *events) isHeard(name string) bool { return e.hasBegun.Load() && e.app.ShouldEmit(name) }

func (e *events) add(one event) {
	e.mu.Lock()
	isFull := len(e.pending) == maxPendingEvents
	isNews := isFull && !e.isFull
	if e.isFull = isFull; !isFull {
		e.pending = append(e.pending, one)
	}
	e.mu.Unlock()
	if isNews {
		e.logger.Warn("a subscriber to events is too slow; some are lost", zap.String("event", one.name), zap.Int("pending", maxPendingEvents))
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *events) next() (one event, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending) == 0 {
		e.pending = nil
		return event{}, false
	}
	one, e.pending = e.pending[0], e.pending[1:]
	return one, true
}

// run tells the subscribers, until stop is called.
func (e *events) run() {
	defer close(e.done)
	start := time.NewTicker(startInterval)
	defer start.Stop()
	for !e.isRunning() {
		select {
		case <-start.C:
		case <-e.stopping:
			return // the config has not come to run
		}
	}
	start.Stop()
	e.hasBegun.Store(true)
	for {
		e.tellAll()
		select {
		case <-e.wake:
		case <-e.stopping:
			e.tellAll()
			return
		}
	}
}

func (e *events) tellAll() {
	for !e.isOver.Load() {
		one, ok := e.next()
		if !ok {
			return
		}
		e.tell(one)
	}
}

// tell calls the subscribers to an event. One that panics does not end Caddy.
func (e *events) tell(one event) {
	defer func() {
		if failure := recover(); failure != nil {
			e.logger.Error("a subscriber to an event has panicked", zap.String("event", one.name), zap.Any("error", failure), zap.Stack("stack"))
		}
	}()
	if e.app.ShouldEmit(one.name) {
		e.app.Emit(one.from.origin, one.name, one.data)
	}
}

// stop ends run, once the subscribers know all that has happened.
func (e *events) stop() {
	close(e.stopping)
	select {
	case <-e.done:
	case <-time.After(stopWait):
		e.logger.Warn("a subscriber to events is too slow; the latest events of the config that stops are lost")
	}
	e.isOver.Store(true)
}
