package proxyos

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/proxyos/caddy-proxyos/internal/h1"
)

// Who answers for a client that has left sets variables while the dial for it still reads them.
func TestADialThatOutlivesItsRequestHasTheVariablesOfBefore(t *testing.T) {
	for _, c := range []struct {
		name string
		way  func(*http.Transport) http.RoundTripper
	}{
		{"h1", func(t *http.Transport) http.RoundTripper {
			direct := h1.New(t)
			direct.ContextForDial = withOwnVariables
			return direct
		}},
		{"net/http", func(t *http.Transport) http.RoundTripper { return ownVariables{t} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialing, proceed, seen := make(chan struct{}), make(chan struct{}), make(chan any)
			way := c.way(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				close(dialing)
				<-proceed
				seen <- caddyhttp.GetVar(ctx, "who")
				return nil, errors.New("nobody is there")
			}})
			ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{"who": "the request"})
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
			}
			if got := <-seen; got != "the request" {
				t.Errorf("the dial has the variables of %v", got)
			}
		})
	}
}
