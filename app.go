package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/proxyos/caddy-proxyos/internal/dashboard"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App has the settings of proxyos that apply to the whole server.
type App struct {
	// The ports that mean HTTPS with an unchecked certificate, for an address that is written
	// with one of them and starts with neither "http://" nor "h2c://", and for dynamic
	// upstreams. From 1 to 65535. An empty list turns the detection off. It has no effect on
	// routes whose transport has TLS options or is not http.
	// Default: 443, 8006, 8007, 8443, 9090, 9443, 10443.
	HTTPSPorts *[]int `json:"https_ports,omitempty"`

	// How often to read, from Caddy's storage, the splits that other instances of a cluster have
	// set. A duration, such as "2s", or a number of nanoseconds. At least 100ms. Default: 5s.
	SyncInterval caddy.Duration `json:"sync_interval,omitempty"`

	// Whether requests may take the fast ways to an upstream, on all routes that do not say it
	// themselves. See the handler's fast_path. Default: true.
	FastPath *bool `json:"fast_path,omitempty"`

	// Whether to have metrics of each configured upstream, too: some 50 series each, as many as
	// the configuration has upstreams. Default: false.
	UpstreamMetrics bool `json:"upstream_metrics,omitempty"`

	defaults routeDefaults
	places   placeFinder
	routes   registry
	lanes    map[string]*lane // shared by the routes that do not configure a transport
	steering *steering
	events   *events
	boarding sync.Once
	hub      *dashboard.Hub // nil if the config has no dashboard
	boards   []place        // of the dashboards that answer every path

	hasStarted atomic.Bool // until then, nothing is known of what was set at run time
	stop       context.CancelFunc
	watching   sync.WaitGroup
}

const defaultSyncInterval = 5 * time.Second

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "proxyos",
		New: func() caddy.Module { return new(App) },
	}
}

// UnmarshalJSON decodes the app, and says in which field a mistake is.
func (a *App) UnmarshalJSON(data []byte) error {
	type proxyos App // the name that decoding errors show
	err := caddy.StrictUnmarshalJSON(data, (*proxyos)(a))
	if err == nil {
		return nil
	}
	var fields object
	if json.Unmarshal(data, &fields) != nil {
		return plainly("", err)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		one := caddy.StrictUnmarshalJSON(encode(object{name: fields[name]}), new(proxyos))
		if one != nil && !strings.Contains(one.Error(), "unknown field") {
			return plainly(name, one)
		}
	}
	return plainly("", err)
}

// Provision fills in the defaults and registers the metrics.
func (a *App) Provision(ctx caddy.Context) error {
	a.defaults = a.forRoutes()
	if a.SyncInterval == 0 {
		a.SyncInterval = caddy.Duration(defaultSyncInterval)
	}
	a.lanes = make(map[string]*lane)
	a.steering = newSteering(&a.routes, ctx.Storage(), time.Duration(a.SyncInterval), ctx.Logger())
	loaded, err := ctx.App("events")
	if err != nil {
		return err
	}
	eventsApp := loaded.(*caddyevents.App)
	if err := (healthEvents{}).subscribe(eventsApp); err != nil {
		return err
	}
	a.events = newEvents(eventsApp, a.steering.isRunning, ctx.Logger())
	if err := ctx.GetMetricsRegistry().Register(&collector{routes: &a.routes, upstreams: a.UpstreamMetrics}); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// Cleanup closes the idle connections of the lanes that routes share, and gives up the history.
func (a *App) Cleanup() error {
	var all []error
	for _, lane := range a.lanes {
		all = append(all, lane.close())
	}
	if a.hub != nil {
		_, err := keptHistories.Delete(historyKey)
		all = append(all, err)
	}
	return errors.Join(all...)
}

// ports returns the ports that mean HTTPS. A nil App has the defaults.
func (a *App) ports() []int {
	if a == nil || a.HTTPSPorts == nil {
		return defaultHTTPSPorts
	}
	return *a.HTTPSPorts
}

// routeDefaults are what the app says for the routes that do not say it themselves.
type routeDefaults struct {
	httpsPorts portSet
	fastPath   bool
	measured   bool // upstream_metrics is on
	elsewhere  bool // the config may run where {env.*} and {file.*} have other values
}

// forRoutes returns what the app says for the routes. A nil App has the defaults.
func (a *App) forRoutes() routeDefaults {
	return routeDefaults{httpsPorts: newPortSet(a.ports()), fastPath: a == nil || a.FastPath == nil || *a.FastPath, measured: a != nil && a.UpstreamMetrics}
}

// Validate rejects invalid ports, and intervals that would keep the storage busy.
func (a *App) Validate() error {
	if interval := time.Duration(a.SyncInterval); interval < 100*time.Millisecond {
		return fmt.Errorf("sync_interval: %s is too short; write 100ms or more", interval)
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

// Start begins to watch and steer the routes. The routes themselves run with their servers.
func (a *App) Start() error {
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	a.watching.Go(func() { watchAvailability(ctx, a.routes.all(), a.events) })
	go a.events.run()
	a.steering.start(ctx)
	a.hasStarted.Store(true)
	if a.hub != nil {
		a.warnBoards()
		a.watching.Go(func() { a.hub.Run(ctx) })
	}
	return nil
}

// Stop ends what Start began.
func (a *App) Stop() error {
	a.stop()
	a.watching.Wait()
	a.steering.stop()
	a.events.stop()
	return nil
}

// runningApp returns the app of the running config.
func runningApp() (*App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("proxyos")
	if err != nil {
		return nil, caddy.APIError{
			HTTPStatus: http.StatusNotFound,
			Err:        errors.New("the running config has no proxyos route"),
		}
	}
	return app.(*App), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
