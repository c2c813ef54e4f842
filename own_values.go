package proxyos

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// ownValues copies what Caddy's transport looks at while it dials: the request's variables, and the
// values of the placeholders in the server name. A dial may outlive the request that it was for.
// Whoever answers for that then sets other variables and header fields, and a map that is read and
// written at a time ends the whole process.
type ownValues struct {
	serverName string // as it is configured; only if it has placeholders
}

func newOwnValues(config *reverseproxy.HTTPTransport) ownValues {
	if config.TLS != nil && strings.Contains(config.TLS.ServerName, "{") {
		return ownValues{config.TLS.ServerName}
	}
	return ownValues{}
}

// in returns a context that has its own values. It is called in the goroutine of the request.
func (o ownValues) in(ctx context.Context) context.Context {
	if vars, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars))
	}
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok && o.serverName != "" {
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, o.copyOf(repl))
	}
	return ctx
}

// copyOf returns a replacer that has only the values of the placeholders in the server name.
func (o ownValues) copyOf(repl *caddy.Replacer) *caddy.Replacer {
	values := make(map[string]any)
	_, _ = repl.ReplaceFunc(o.serverName, func(name string, value any) (any, error) {
		values[name] = value
		return value, nil
	})
	own := caddy.NewEmptyReplacer()
	own.Map(func(name string) (any, bool) {
		value, ok := values[name]
		return value, ok
	})
	return own
}

// withOwnValues makes round trips with their own values, over a transport that does not tell when
// it dials.
type withOwnValues struct {
	http.RoundTripper
	values ownValues
}

// RoundTrip implements http.RoundTripper.
func (w withOwnValues) RoundTrip(req *http.Request) (*http.Response, error) {
	return w.RoundTripper.RoundTrip(req.WithContext(w.values.in(req.Context())))
}
