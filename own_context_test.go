package proxyos

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Two modules that are provisioned one after the other, at any depth.
func TestTheContextOfAModuleStaysItsOwn(t *testing.T) {
	var around []caddy.Module
	for depth := range 20 {
		list := around[:depth:cap(around)]
		one, two := new(Handler), new(Handler)
		first := ownContext(contextOf(append(list, one)))
		contextOf(append(list, two))
		if got := first.Module(); got != one {
			t.Errorf("at depth %d it is the context of another module", depth)
		}
		around = append(around, one)
	}
}

// contextOf returns a context with modules in it.
func contextOf(modules []caddy.Module) (ctx caddy.Context) {
	*ancestryOf(&ctx) = modules
	return ctx
}

// What an active health check finds out reaches the route, wherever that is in the config.
func TestActiveChecksReachARouteThatHasOthersBesideIt(t *testing.T) {
	checked := "proxyos " + proxytest.Refused(t) + " {\nhealth_uri /\nhealth_interval 50ms\n}"
	for name, directives := range map[string]string{
		"alone":                checked,
		"before another":       "handle {\n" + checked + "\nfile_server\n}",
		"before another route": "route {\n" + checked + "\nproxyos b:1\n}",
		"far inside":           "route {\nroute {\nroute {\nroute {\nroute {\n" + checked + "\nrespond x\n}\n}\n}\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			c := runCaddy(t, directives)
			proxytest.Eventually(t, "the route knows that its upstream is down", func() bool {
				status, _ := c.Get("/")
				return status == http.StatusServiceUnavailable
			})
		})
	}
}
