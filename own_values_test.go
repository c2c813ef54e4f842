package proxyos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/proxyos/caddy-proxyos/internal/h1"
)

// Who answers for a client that has left sets variables and header fields while the dial for it
// still looks at them.
func TestADialThatOutlivesItsRequestHasTheValuesOfBefore(t *testing.T) {
	const name = "{http.request.host}.{http.request.header.X-Name}{http.vars.none}"
	values := ownValues{name}
	for _, c := range []struct {
		name string
		way  func(*http.Transport) http.RoundTripper
	}{
		{"h1", func(t *http.Transport) http.RoundTripper {
			direct := h1.New(t)
			direct.ContextForDial = values.in
			return direct
		}},
		{"net/http", func(t *http.Transport) http.RoundTripper { return withOwnValues{t, values} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialing, proceed, seen := make(chan struct{}), make(chan struct{}), make(chan string)
			way := c.way(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				close(dialing)
				<-proceed
				repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
				seen <- fmt.Sprint(caddyhttp.GetVar(ctx, "who"), " to ", repl.ReplaceAll(name, ""))
				return nil, errors.New("nobody is there")
			}})
			original, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.test/", nil)
			original.Header.Set("X-Name", "one")
			original = caddyhttp.PrepareRequest(original, caddy.NewReplacer(), nil, new(caddyhttp.Server))
			ctx := original.Context()
			caddyhttp.SetVar(ctx, "who", "the request")
			asking, leave := context.WithCancel(ctx)
			left := make(chan error)
			go func() {
				req, _ := http.NewRequestWithContext(asking, http.MethodGet, "http://127.0.0.1:1", nil)
				_, err := way.RoundTrip(req)
				left <- err
			}()
			<-dialing
			leave()
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			close(proceed)
			for range 100 {
				caddyhttp.SetVar(ctx, "who", "an error route")
				original.Header.Set("X-Name", "other")
			}
			if got := <-seen; got != "the request to app.test.one" {
				t.Errorf("the dial has the values of %v", got)
			}
		})
	}
}
