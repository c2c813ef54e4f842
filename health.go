package proxyos

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// distrust remembers the upstreams that were down under the config before this one, since
// Caddy forgets that: they count as unavailable until they have answered once, or until
// this config has had the time to find out by itself.
type distrust struct {
	count atomic.Int32 // how many upstreams there are in until
	mu    sync.Mutex
	until map[string]time.Time // by dial address
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

func (d *distrust) any() bool { return d.count.Load() > 0 }

func (d *distrust) add(dial string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = make(map[string]time.Time)
	}
	d.until[dial] = until
	d.count.Store(int32(len(d.until)))
}

func (d *distrust) remove(dial string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.until, dial)
	d.count.Store(int32(len(d.until)))
}

func (d *distrust) has(dial string) bool {
	_, ok := d.deadline(dial)
	return ok
}

// deadline returns until when an upstream is distrusted; ok is false if it is not.
func (d *distrust) deadline(dial string) (until time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if until, ok = d.until[dial]; !ok {
		return time.Time{}, false
	}
	if time.Now().Before(until) {
		return until, true
	}
	delete(d.until, dial)
	d.count.Store(int32(len(d.until)))
	return time.Time{}, false
}

// distrustAsBefore takes over what the route knew under the config that runs, if it is in
// there.
func (h *Handler) distrustAsBefore(last *Handler) {
	if last == nil {
		return
	}
	period := distrustFor(h.proxy.HealthChecks)
	for upstream := range last.stats {
		if until, ok := last.distrust.deadline(upstream.Dial); ok {
			h.distrust.add(upstream.Dial, until)
		} else if !upstream.Healthy() && period > 0 {
			h.distrust.add(upstream.Dial, time.Now().Add(period))
		}
	}
}

// available tells whether an upstream of the group can be sent requests.
func (g *group) available(u *reverseproxy.Upstream) bool {
	return u.Available() && (!g.distrust.any() || !g.distrust.has(u.Dial))
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
