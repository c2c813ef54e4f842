package proxyos

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the settings of proxyos that are the same for the whole server.
type App struct {
	// The ports that mean HTTPS with an unchecked certificate, where an address has one
	// of them and does not start with "http://". From 1 to 65535. An empty list turns the
	// detection off. Default: 443, 8006, 8007, 8443, 9090, 9443, 10443.
	HTTPSPorts *[]int `json:"https_ports,omitempty"`

	httpsPorts portSet
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "proxyos",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision fills in the defaults.
func (a *App) Provision(caddy.Context) error {
	ports := defaultHTTPSPorts
	if a.HTTPSPorts != nil {
		ports = *a.HTTPSPorts
	}
	a.httpsPorts = newPortSet(ports)
	return nil
}

// Validate refuses ports that are none.
func (a *App) Validate() error {
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

// Start has nothing to do: routes run with their servers.
func (*App) Start() error { return nil }

// Stop has nothing to do.
func (*App) Stop() error { return nil }

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ caddy.Validator   = (*App)(nil)
)
