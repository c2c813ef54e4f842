package proxyos

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// globalBlock is what the global option takes.
var globalBlock = block[App]{
	{"https_ports [+|-]<ports...>", once, readHTTPSPorts},
	{"sync_interval <duration>", once, func(p *parser, app *App) error { return p.duration(&app.SyncInterval, "5s") }},
	{"fast_path [on|off]", once, func(p *parser, app *App) error { return p.onOff(&app.FastPath) }},
	{"upstream_metrics [on|off]", once, readUpstreamMetrics},
}

// parseGlobalOption sets up the app from Caddyfile tokens. Syntax:
//
//	proxyos {
//	    # what globalBlock lists
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option
	if existing != nil {
		return nil, d.Err("the proxyos option is already specified; write it once")
	}
	if d.NextArg() {
		return nil, d.Errf("the proxyos option takes a block, not %q", d.Val())
	}
	app := new(App)
	if err := globalBlock.parse(newParser(httpcaddyfile.Helper{Dispenser: d}, "proxyos"), app); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "proxyos", Value: caddyconfig.JSON(app, nil)}, nil
}

func readHTTPSPorts(p *parser, app *App) error {
	ports, err := parseHTTPSPorts(p.RemainingArgs())
	if err != nil {
		return p.WrapErr(err)
	}
	app.HTTPSPorts = &ports
	return nil
}

func readUpstreamMetrics(p *parser, app *App) error {
	var on *bool
	if err := p.onOff(&on); err != nil {
		return err
	}
	app.UpstreamMetrics = *on
	return nil
}
