package proxyos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the settings of proxyos that are the same for the whole server.
type App struct {
	// The ports that mean HTTPS with an unchecked certificate, where an address has one
	// of them written and starts with neither "http://" nor "h2c://", and for dynamic
	// upstreams. From 1 to 65535. An empty list turns the detection off. It does not bear on
	// routes whose transport has TLS options or is not http.
	// Default: 443, 8006, 8007, 8443, 9090, 9443, 10443.
	HTTPSPorts *[]int `json:"https_ports,omitempty"`

	// How often the splits that other instances of a cluster have set are read from Caddy's
	// storage. A duration, such as "2s", or a number of nanoseconds; at least 100ms.
	// Default: 5s.
	SyncInterval caddy.Duration `json:"sync_interval,omitempty"`

	logger     *zap.Logger
	httpsPorts portSet

	mu     sync.Mutex
	routes []*Handler
	byName map[string]*Handler
	legs   map[string]*leg // shared by the routes that say nothing of their transport

	overrides *overrides
	synced    chan struct{} // closed once the stored overrides are in force
	slow      atomic.Bool   // the storage is too slow for the first requests to wait for it
	wake      chan struct{} // asks for the stored overrides to be put in force again
	stop      context.CancelFunc

	inForceMu sync.Mutex // held while overrides are put in force
	stopped   bool
}

const defaultSyncInterval = 5 * time.Second

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "proxyos",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision fills in the defaults and makes the metrics known.
func (a *App) Provision(ctx caddy.Context) error {
	a.httpsPorts = newPortSet(a.ports())
	if a.SyncInterval == 0 {
		a.SyncInterval = caddy.Duration(defaultSyncInterval)
	}
	a.byName = make(map[string]*Handler)
	a.legs = make(map[string]*leg)
	a.logger = ctx.Logger()
	a.synced = make(chan struct{})
	a.wake = make(chan struct{}, 1)
	a.overrides = &overrides{storage: ctx.Storage(), logger: a.logger, apply: a.putInForce, held: a.inForce}
	if err := ctx.GetMetricsRegistry().Register(&collector{routes: a.all}); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// add takes a route on.
func (a *App) add(route *Handler) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, taken := a.byName[route.Name]; taken {
		return fmt.Errorf("name %q: another proxyos route has it already; give each route a name of its own", route.Name)
	}
	if route.Name != "" {
		a.byName[route.Name] = route
	}
	a.routes = append(a.routes, route)
	return nil
}

// all returns the routes of the config, in the order in which they were loaded.
func (a *App) all() []*Handler {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.routes)
}

// ports returns the ports that mean HTTPS. A nil App has the default ones.
func (a *App) ports() []int {
	if a == nil || a.HTTPSPorts == nil {
		return defaultHTTPSPorts
	}
	return *a.HTTPSPorts
}

// Validate refuses ports that are none, and intervals that would never let the storage rest.
func (a *App) Validate() error {
	if interval := time.Duration(a.SyncInterval); interval < 100*time.Millisecond {
		return fmt.Errorf("sync_interval: %s is less than 100ms", interval)
	}
	if a.HTTPSPorts == nil {
		return nil
	}
	for _, port := range *a.HTTPSPorts {
		if port < 1 || port > 65535 {
			return fmt.Errorf("https_ports: port %d is not a number from 1 to 65535", port)
		}
	}
	return nil
}

// Start begins to watch the routes, which run with their servers.
func (a *App) Start() error {
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	go watchAvailability(ctx, a.all())
	go a.follow(ctx)
	select {
	case <-a.synced:
	case <-time.After(startupWait):
		a.slow.Store(true)
		a.logger.Warn("the storage is slow; traffic splits that were set at run time come into force once it has answered")
	}
	return nil
}

// Stop ends what Start began. The config that runs from now on looks at the storage once
// more: it may have done so before the last change that was made here.
func (a *App) Stop() error {
	a.stop()
	a.inForceMu.Lock()
	a.stopped = true
	a.inForceMu.Unlock()
	if successor, err := runningApp(); err == nil && successor != a {
		select {
		case successor.wake <- struct{}{}:
		default: // it has been asked already
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ caddy.Validator   = (*App)(nil)
)
