package proxyos

import (
	"reflect"
	"slices"

	"github.com/caddyserver/caddy/v2"
)

// ownContext returns the context of a module that is being provisioned, so that it stays the
// context of that module. Caddy appends each module that it loads to the list of those around it,
// and modules beside each other may share the memory of that list: then the last of them to be
// loaded takes the place of the others in their contexts, and events would seem to come from it.
// Caddy has no other way to make a list of one's own.
func ownContext(ctx caddy.Context) caddy.Context {
	if modules := ancestryOf(&ctx); modules != nil {
		*modules = slices.Clip(slices.Clone(*modules))
	}
	return ctx
}

// ancestryOf returns the list of modules in a context, or nil if Caddy has it no more.
func ancestryOf(ctx *caddy.Context) *[]caddy.Module {
	field := reflect.ValueOf(ctx).Elem().FieldByName("ancestry")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]caddy.Module]() {
		return nil
	}
	return (*[]caddy.Module)(field.Addr().UnsafePointer())
}
