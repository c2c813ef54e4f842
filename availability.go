package proxyos

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// watchInterval is how often the groups and their upstreams are checked.
const watchInterval = time.Second

// watchAvailability logs when a group of one of the routes loses its last available
// upstream, and when it gets one back, and emits events of groups and upstreams. It ends with
// the context.
func watchAvailability(ctx context.Context, routes []*route, events *events) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	down := make(map[*group]bool)
	for {
		tellUpstreams, tellGroups := events.isHeard(upstreamEvent), events.isHeard(groupEvent)
		for _, route := range routes {
			for _, g := range route.groups {
				if tellUpstreams {
					route.tellUpstreams(g)
				}
				up := g.isUp()
				if up == down[g] {
					down[g] = !up
					route.logAvailability(g, up)
				}
				if tellGroups {
					route.tellGroup(g, up)
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

func (r *route) logAvailability(g *group, up bool) {
	message := "no upstream of the group is available"
	if up {
		message = "an upstream of the group is available again"
	}
	r.logger.Info(message, zap.String("route", r.title), zap.String("group", g.name))
}

// tellGroup emits an event if a group is lost or back, and the subscribers do not know it yet.
func (r *route) tellGroup(g *group, up bool) {
	g.state.mu.Lock()
	isNews := g.state.toldLost == up
	g.state.toldLost = !up
	g.state.mu.Unlock()
	if !isNews {
		return
	}
	event := "lost"
	if up {
		event = "back"
	}
	r.emit(groupEvent, map[string]any{"group": g.name, "event": event})
}

// toldUpstream is what the subscribers to events know of an upstream. At first that is what is
// usual: it is up and as configured.
type toldUpstream struct {
	isAny             bool // they have been told something, or would have been
	isDown, isDrained bool
	isEjected         bool // that is why it is down
	weight            int
}

// tellUpstreams emits an event for each thing about the upstreams of a group that has changed since
// the subscribers were told.
func (r *route) tellUpstreams(g *group) {
	for _, t := range g.targets {
		if t.isRepeat {
			continue
		}
		g.state.mu.Lock()
		was := t.counts.told
		if !was.isAny {
			was.weight = t.backend.weight
		}
		now := was.next(g, t)
		t.counts.told = now
		g.state.mu.Unlock()
		for _, event := range was.changes(now) {
			data := map[string]any{"group": g.name, "upstream": t.backend.dial, "event": event}
			if event == "weight" {
				data["weight"] = now.weight
			}
			r.emit(upstreamEvent, data)
		}
	}
}

// next returns what there is to know of an upstream now. One that was down and is on trial has yet
// to show that it is up.
func (u toldUpstream) next(g *group, t *target) toldUpstream {
	isDown := !g.isHealthy(t.upstream) || u.isDown && !g.isProven(t.upstream)
	return toldUpstream{
		isAny: true, isDown: isDown, isDrained: t.isDrained(), weight: t.weight(),
		isEjected: isDown && g.breaker.isEjected(t.backend.dial),
	}
}

// changes names what is different in now.
func (u toldUpstream) changes(now toldUpstream) (events []string) {
	switch {
	case now.isEjected && !u.isDown:
		events = append(events, "ejected")
	case now.isDown && !u.isDown:
		events = append(events, "down")
	case u.isDown && !now.isDown:
		events = append(events, "up")
	}
	switch {
	case now.isDrained && !u.isDrained:
		events = append(events, "drained")
	case u.isDrained && !now.isDrained:
		events = append(events, "ready")
	}
	if now.weight != u.weight {
		events = append(events, "weight")
	}
	return events
}
