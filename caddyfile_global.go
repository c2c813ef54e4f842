package proxyos

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseGlobalOption sets up the app from Caddyfile tokens. Syntax:
//
//	proxyos {
//	    https_ports [+|-]<ports...>
//	    sync_interval <duration>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option
	if existing != nil {
		return nil, d.Err("the proxyos option is already specified; write it once")
	}
	app := new(App)
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	for d.NextBlock(0) {
		switch name := d.Val(); name {
		case "https_ports":
			if app.HTTPSPorts != nil {
				return nil, d.Err("https_ports is already specified; write all ports on one line")
			}
			ports, err := parseHTTPSPorts(d.RemainingArgs())
			if err != nil {
				return nil, d.WrapErr(err)
			}
			app.HTTPSPorts = &ports
		case "sync_interval":
			if app.SyncInterval != 0 {
				return nil, d.Err("sync_interval is already specified; write it once")
			}
			var text string
			if !d.AllArgs(&text) {
				return nil, d.ArgErr()
			}
			interval, err := caddy.ParseDuration(text)
			if err != nil {
				return nil, d.Errf("sync_interval: %q is not a duration; write one such as 5s", text)
			}
			app.SyncInterval = caddy.Duration(interval)
		default:
			return nil, d.Errf("unrecognized option %q of proxyos; it takes https_ports and sync_interval", name)
		}
	}
	return httpcaddyfile.App{Name: "proxyos", Value: caddyconfig.JSON(app, nil)}, nil
}
