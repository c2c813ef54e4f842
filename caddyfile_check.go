package proxyos

import (
	"encoding/json"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// namesState is where a Caddyfile's names of routes are while it is adapted.
const namesState = "proxyos.names"

// explaining is set while a command adapts a config to explain all of it, mistakes included.
var explaining atomic.Bool

// checkWritten rejects a handler that could not be loaded while it is known where in the
// Caddyfile it was written. What depends on the environment and the files of the machine that
// loads it is left to loading.
func checkWritten(helper httpcaddyfile.Helper, directive caddyfile.Token, h *Handler) error {
	if explaining.Load() {
		return nil
	}
	at := asBlock(directive, nil)
	at.Next()
	defaults := writtenApp(helper).forRoutes()
	defaults.elsewhere = true
	if _, err := newPlan(h, defaults); err != nil {
		return at.WrapErr(err)
	}
	if h.Name == "" || helper.State == nil {
		return nil
	}
	known, ok := helper.State[namesState].(names)
	if !ok {
		known = make(names)
		helper.State[namesState] = known
	}
	where := writtenAt(strings.TrimPrefix(at.Err("").Error(), ", ")) // with the chain of imports
	if _, err := known.claim(h.Name, h, where); err != nil {
		return at.WrapErr(err)
	}
	return nil
}

// writtenAt is a place in a Caddyfile.
type writtenAt string

func (w writtenAt) String() string { return string(w) }

// writtenApp returns the app as the global option has it, or nil.
func writtenApp(helper httpcaddyfile.Helper) *App {
	option, ok := helper.Option("proxyos").(httpcaddyfile.App)
	if !ok {
		return nil
	}
	app := new(App)
	_ = json.Unmarshal(option.Value, app) // cannot fail: it was just encoded
	return app
}
