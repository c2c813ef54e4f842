package proxyos

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// distrust remembers the upstreams that have failed and not answered since.
//
// Those that were down when the config was last changed, of which the new config knows
// nothing, count as unavailable for the time that it needs to find out by itself. After
// that, and after the passive health check has forgotten the failures of any other, an
// upstream is on trial: it gets one request at a time until it has answered. So a dead
// upstream costs one request its first attempt each time, not all that are under way.
//
// Requests only read it, without a lock: it changes when an upstream fails or returns.
type distrust struct {
	known atomic.Pointer[suspects] // replaced rather than changed; nil while there are none
	mu    sync.Mutex               // held to replace it
}

// suspects are the upstreams that are distrusted, by dial address.
type suspects map[string]*suspicion

type suspicion struct {
	until time.Time   // unavailable until then, on trial from then on
	tried atomic.Bool // a request is under way there
}

// distrustFor returns how long a config needs to find out which upstreams are down.
func distrustFor(checks *reverseproxy.HealthChecks) time.Duration {
	var needed time.Duration
	if checks == nil {
		return 0
	}
	if passive := checks.Passive; passive != nil {
		needed = time.Duration(passive.FailDuration)
	}
	if active := checks.Active; active != nil && active.IsEnabled() {
		timeout := time.Duration(active.Timeout)
		if timeout == 0 {
			timeout = 5 * time.Second // as Caddy has it
		}
		needed = max(needed, time.Duration(active.Fails-1)*time.Duration(active.Interval)+timeout+time.Second)
	}
	return needed
}

func (d *distrust) any() bool { return d.known.Load() != nil }

// of returns what is held against an upstream, or nil.
func (d *distrust) of(dial string) *suspicion {
	if known := d.known.Load(); known != nil {
		return (*known)[dial]
	}
	return nil
}

// change replaces what is known by what f makes of a copy.
func (d *distrust) change(f func(suspects)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := make(suspects)
	if last := d.known.Load(); last != nil {
		maps.Copy(known, *last)
	}
	f(known)
	if len(known) == 0 {
		d.known.Store(nil)
		return
	}
	d.known.Store(&known)
}

// add distrusts an upstream, which is unavailable until a time and on trial after that.
func (d *distrust) add(dial string, until time.Time) {
	d.change(func(known suspects) {
		if s := known[dial]; s != nil && s.until.After(until) {
			until = s.until
		}
		known[dial] = &suspicion{until: until}
		// dynamic upstreams may never come up again
		now := time.Now()
		maps.DeleteFunc(known, func(_ string, s *suspicion) bool { return now.Sub(s.until) > time.Hour })
	})
}

// remove trusts an upstream again.
func (d *distrust) remove(dial string) {
	if d.knows(dial) {
		d.change(func(known suspects) { delete(known, dial) })
	}
}

// answered is called when an upstream has answered. That ends its trial, while during its
// period it has to do well.
func (d *distrust) answered(dial string, status int) {
	if status < 400 || !d.has(dial) {
		d.remove(dial)
	}
}

// has tells whether an upstream is in the period in which it is unavailable.
func (d *distrust) has(dial string) bool {
	until, ok := d.deadline(dial)
	return ok && time.Now().Before(until)
}

// deadline returns until when a distrusted upstream is unavailable; ok is false if it is
// not distrusted.
func (d *distrust) deadline(dial string) (until time.Time, ok bool) {
	if s := d.of(dial); s != nil {
		return s.until, true
	}
	return time.Time{}, false
}

// distrustAsBefore takes over what the route knew of its upstreams under the config that
// runs, if it is in there. Those that it no longer has would never answer again.
func (h *Handler) distrustAsBefore(last *Handler) {
	if last == nil {
		return
	}
	period := distrustFor(h.proxy.HealthChecks)
	for upstream := range last.stats {
		until, distrusted := last.distrust.deadline(upstream.Dial)
		if !distrusted && upstream.Healthy() || !h.hasUpstream(upstream.Dial) {
			continue
		}
		if distrusted {
			h.distrust.add(upstream.Dial, until)
		}
		if !upstream.Healthy() && period > 0 && !h.distrust.has(upstream.Dial) {
			h.distrust.add(upstream.Dial, time.Now().Add(period))
		}
	}
}

// hasUpstream tells whether one of the route's upstreams has a dial address.
func (h *Handler) hasUpstream(dial string) bool {
	for upstream := range h.stats {
		if upstream.Dial == dial {
			return true
		}
	}
	return false
}

// knows tells whether an upstream is distrusted, unavailable or not.
func (d *distrust) knows(dial string) bool { return d.of(dial) != nil }

// bars tells whether an upstream is to get no request now.
func (d *distrust) bars(dial string) bool {
	s := d.of(dial)
	return s != nil && (s.tried.Load() || time.Now().Before(s.until))
}

// admit lets a request go to an upstream, unless that is on trial with another one.
func (d *distrust) admit(dial string) bool {
	s := d.of(dial)
	return s == nil || s.tried.CompareAndSwap(false, true)
}

// release ends a trial that has shown nothing.
func (d *distrust) release(dial string) {
	if s := d.of(dial); s != nil {
		s.tried.Store(false)
	}
}

// available tells whether an upstream of the group can be sent requests.
func (g *group) available(u *reverseproxy.Upstream) bool {
	return u.Available() && (!g.distrust.any() || !g.distrust.bars(u.Dial))
}

// isUp tells whether any upstream of the group can be sent requests. It cannot know that
// of dynamic upstreams.
func (g *group) isUp() bool {
	return g.dynamic != nil || slices.ContainsFunc(g.pool, g.isHealthy)
}

// isHealthy tells whether an upstream of the group is not known to be down.
func (g *group) isHealthy(u *reverseproxy.Upstream) bool {
	return u.Healthy() && (!g.distrust.any() || !g.distrust.has(u.Dial))
}

// watchInterval is how often the groups are looked at.
const watchInterval = time.Second

// watchAvailability logs when a group of any of the routes loses its last available
// upstream, and when it gets one back, until the context ends.
func watchAvailability(ctx context.Context, routes []*Handler) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	down := make(map[*group]bool)
	for {
		for _, route := range routes {
			for _, g := range route.groups {
				if up := g.isUp(); up == down[g] {
					down[g] = !up
					route.logAvailability(g, up)
				}
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *Handler) logAvailability(g *group, up bool) {
	message := "no upstream of the group is available"
	if up {
		message = "an upstream of the group is available again"
	}
	h.logger.Info(message, zap.String("route", h.Name), zap.String("group", g.name))
}
