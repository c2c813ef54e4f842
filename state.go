package proxyos

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// routeStates holds what named routes keep through config reloads, by name.
var routeStates = caddy.NewUsagePool()

// routeState is what a route knows apart from its configuration.
type routeState struct {
	phase     atomic.Uint64 // of the split
	positions atomic.Uint64 // of sticky clients: the last one given out
	override  atomic.Pointer[override]

	groups    [2]groupState // production, staging
	fallbacks atomic.Uint64

	mu        sync.Mutex
	upstreams map[string]*upstreamState // by dial address
}

// groupState counts the requests of a group.
type groupState struct {
	inFlight  atomic.Int64
	byClass   [6]atomic.Uint64 // by the first digit of the status; 0 for any other
	durations durationHistogram
}

// upstreamState counts the attempts at an upstream.
type upstreamState struct {
	requests atomic.Uint64
	errors   atomic.Uint64
}

// override is a share that has been set while the route runs.
type override struct {
	share   share
	Against float64     // the configured percentage that it replaces
	Set     time.Time   // when
	By      string      // who
	retired atomic.Bool // the configured percentage has been edited since
}

func newRouteState() *routeState {
	s := &routeState{upstreams: make(map[string]*upstreamState)}
	s.phase.Store(halfway)
	return s
}

// acquireRouteState returns the state of the route of that name, or a new one that is
// nobody else's where the name is empty; isNew tells whether an earlier config had none.
// What it returns for a name must be released.
func acquireRouteState(name string) (state *routeState, isNew bool) {
	if name == "" {
		return newRouteState(), true
	}
	value, loaded := routeStates.LoadOrStore(name, newRouteState())
	return value.(*routeState), !loaded
}

// releaseRouteState gives up the route's state, which is gone if no other config has it.
func releaseRouteState(name string) error {
	if name == "" {
		return nil
	}
	_, err := routeStates.Delete(name)
	return err
}

// upstream returns the state of the upstream at a dial address.
func (s *routeState) upstream(dial string) *upstreamState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, ok := s.upstreams[dial]
	if !ok {
		state = new(upstreamState)
		s.upstreams[dial] = state
	}
	return state
}

// served counts a request that was answered with a status.
func (g *groupState) served(status int, took time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	g.byClass[class].Add(1)
	g.durations.observe(took)
}

// totals returns how many requests there have been and how many of them failed, with a
// status of 500 or more.
func (g *groupState) totals() (requests, failed uint64) {
	for class := range g.byClass {
		requests += g.byClass[class].Load()
	}
	return requests, g.byClass[5].Load()
}
