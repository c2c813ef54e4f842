package proxyos

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// routeStates holds what named routes keep through config reloads, by name.
var routeStates = caddy.NewUsagePool()

// routeState is what a route knows apart from its configuration.
type routeState struct {
	fallbacks   atomic.Uint64
	retries     atomic.Uint64 // attempts beyond the first
	unretried   atomic.Uint64 // requests that were not sent again since the retry budget was used up
	short, full atomic.Uint64 // requests that took the short way, and those that did not
	positions   atomic.Uint64 // of sticky clients: the last one given out
	phase       atomic.Uint64 // of the split; see splitter for its place

	override            overrideState
	breaker             breaker
	production, staging groupState
	upstreams           steeredUpstreams

	live atomic.Pointer[liveRelease] // nil if the route has never had a release

	// What each request reads, and hardly anything writes, is not beside what all of them write.
	release atomic.Pointer[releaseRound] // the present one; nil if no release is under way
	shuffle atomic.Pointer[shuffle]      // takes the turns of the split instead; nil if none does
}

// groupState counts the requests of a group.
type groupState struct {
	inFlight  atomic.Int64
	byClass   [6]atomic.Uint64 // by the first digit of the status; 0 for any other
	failing   atomic.Uint64    // errors since the latest answer that was none
	durations durationHistogram

	mu        sync.Mutex
	upstreams few[string, *upstreamState] // by dial address
	toldLost  bool                        // the subscribers to events know that it is lost
}

// upstreamState counts the attempts at an upstream.
type upstreamState struct {
	requests atomic.Uint64
	errors   atomic.Uint64
	inFlight atomic.Int64
	measures *upstreamMeasures // nil if upstream_metrics has never been on
	told     toldUpstream      // guarded by the group's lock
	trouble  atomic.Pointer[trouble]

	holders []*reverseproxy.Upstream // of the configs that have it, the latest last
}

func newRouteState() *routeState {
	s := new(routeState)
	s.phase.Store(halfway)
	return s
}

// splitter returns the splitter of a config that has the route, with its configured share. It
// must leave the state's override.
func (s *routeState) splitter(percent float64, instance string) *splitter {
	one := &splitter{configured: newShare(percent), state: &s.override, instance: instance, shared: s}
	s.override.join(one)
	return one
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

// has tells whether a config has an upstream at a dial address.
func (s *routeState) has(dial string) bool { return s.production.has(dial) || s.staging.has(dial) }

// acquire returns the state of the upstream at a dial address, and the upstream that the
// config before this one has there, if any. It must be released.
func (g *groupState) acquire(upstream *reverseproxy.Upstream) (state *upstreamState, before *reverseproxy.Upstream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	state, ok := g.upstreams.get(upstream.Dial)
	if !ok {
		state = new(upstreamState)
		g.upstreams.set(upstream.Dial, state)
	}
	for _, holder := range state.holders {
		if holder.Host != nil { // not another one of this config, which is not provisioned yet
			before = holder
		}
	}
	state.holders = append(state.holders, upstream)
	return state, before
}

// measure returns what is counted of an acquired upstream besides attempts.
func (g *groupState) measure(state *upstreamState) *upstreamMeasures {
	g.mu.Lock()
	defer g.mu.Unlock()
	if state.measures == nil {
		state.measures = new(upstreamMeasures)
	}
	return state.measures
}

// release gives up the state of an upstream, which is gone if no config has it any more. It
// tells whether an older config still has it.
func (g *groupState) release(upstream *reverseproxy.Upstream) (hasOlder bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	state, _ := g.upstreams.get(upstream.Dial)
	place := slices.Index(state.holders, upstream)
	state.holders = slices.Delete(state.holders, place, place+1)
	if len(state.holders) == 0 {
		g.upstreams.remove(upstream.Dial)
	}
	return place > 0
}

// has tells whether a config has an upstream at a dial address in the group.
func (g *groupState) has(dial string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.upstreams.get(dial)
	return ok
}

// served counts a request that was answered with a status.
func (g *groupState) served(status int, took time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	g.byClass[class].Add(1)
	switch {
	case class == 5:
		g.failing.Add(1)
	case status != statusClientGone && g.failing.Load() != 0:
		g.failing.Store(0)
	}
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
