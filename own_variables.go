package proxyos

import (
	"context"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// withOwnVariables returns a context with a copy of the request's variables. A dial may outlive
// the request that it was for, and Caddy's transport reads variables in it; whoever answers for
// the request then sets others meanwhile, and a map that is read and written at a time ends the
// whole process.
func withOwnVariables(ctx context.Context) context.Context {
	vars, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars))
}

// ownVariables makes round trips with a copy of the request's variables, for a transport that does
// not tell when it dials.
type ownVariables struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o ownVariables) RoundTrip(req *http.Request) (*http.Response, error) {
	return o.RoundTripper.RoundTrip(req.WithContext(withOwnVariables(req.Context())))
}
