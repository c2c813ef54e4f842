package proxyos

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// healthEvents hears what active health checks find out. Caddy tells whether an upstream is
// healthy in all, but not which kind of check says otherwise, and an active one counts for
// more than a passive one.
type healthEvents struct{}

// checkedHandler is a module whose upstreams are checked.
type checkedHandler interface {
	// noteHealth takes note of what an active check of the upstream at a dial address, its
	// placeholders replaced, has found.
	noteHealth(dial string, healthy bool)
}

// subscribe subscribes to the events of a config.
func (healthEvents) subscribe(app *caddyevents.App) error {
	return app.Subscribe(&caddyevents.Subscription{
		Events:   []string{"healthy", "unhealthy"},
		Modules:  []caddy.ModuleID{"http.handlers.proxyos"},
		Handlers: []caddyevents.Handler{healthEvents{}},
	})
}

// Handle implements caddyevents.Handler.
func (healthEvents) Handle(_ context.Context, e caddy.Event) error {
	if checked, ok := e.Origin().(checkedHandler); ok {
		host, _ := e.Data["host"].(string)
		checked.noteHealth(host, e.Name() == "healthy")
	}
	return nil
}

// noteHealth marks the upstreams that a check was for.
func (r *route) noteHealth(dial string, healthy bool) {
	if r.proxy.HealthChecks == nil || r.proxy.HealthChecks.Active == nil {
		return
	}
	for _, g := range r.groups {
		for _, t := range g.targets {
			if checkAddress(t.backend.dial, r.proxy.HealthChecks.Active) == dial {
				if was := t.unhealthy.Swap(!healthy); !was && !healthy {
					t.unhealthySince.Store(time.Now().UnixNano())
				}
			}
		}
	}
}

// Interface guard
var _ caddyevents.Handler = healthEvents{}
