package proxyos

import (
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// If this fails with a new version of Caddy, all routes are kept off the short way.
func TestCaddysCountOfRequestsIsWhereItWas(t *testing.T) {
	if !canCount {
		t.Fatal("Caddy's Host has no numRequests that is an atomic.Int64")
	}
	host := new(reverseproxy.Host)
	for _, want := range []int{1, 2, 1} {
		requestsOf(host).add(int64(want - host.NumRequests()))
		if got := host.NumRequests(); got != want || host.Fails() != 0 {
			t.Errorf("Caddy counts %d requests and %d failures, want %d and 0", got, host.Fails(), want)
		}
	}
}
