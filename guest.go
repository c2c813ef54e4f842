package proxyos

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// The guests of a route that are modules in the JSON of its reverse proxy.
var (
	guestTransport = encode(map[string]string{"protocol": "proxyos"})
	guestSource    = encode(map[string]string{"source": "proxyos"})
)

// hostOf returns the proxyos handler whose reverse proxy the module being provisioned is
// a guest of.
func hostOf(ctx caddy.Context, name string) (*Handler, error) {
	lineage := ctx.Modules() // …, the route, its reverse proxy, the guest
	if len(lineage) >= 3 {
		if route, ok := lineage[len(lineage)-3].(*Handler); ok {
			return route, nil
		}
	}
	return nil, errGuest(name)
}

// refuseGuest refuses a module of ours that is named in a Caddyfile.
func refuseGuest(d *caddyfile.Dispenser, name string) error {
	d.Next()
	return d.WrapErr(errGuest(name))
}

// errGuest refuses a module of ours in a place where it has not been put by the handler.
func errGuest(name string) error {
	return errors.New(name + " belongs to the proxyos handler and cannot be used by itself; leave it out")
}
