package proxyos

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// watchInterval is how often the groups are checked.
const watchInterval = time.Second

// watchAvailability logs when a group of one of the routes loses its last available
// upstream, and when it gets one back. It ends with the context.
func watchAvailability(ctx context.Context, routes []*route) {
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

func (r *route) logAvailability(g *group, up bool) {
	message := "no upstream of the group is available"
	if up {
		message = "an upstream of the group is available again"
	}
	r.logger.Info(message, zap.String("route", r.title), zap.String("group", g.name))
}
