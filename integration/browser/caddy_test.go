//go:build browser

package browser

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// quick is global options with which nothing takes long.
const quick = "{\n\tproxyos {\n\t\tsync_interval 500ms\n\t}\n}\n"

// withControls is a dashboard that steers.
const withControls = "handle_path /proxyos/* {\n\tproxyos_dashboard {\n\t\tcontrols on\n\t}\n}\n"

// serve runs a Caddy in a process of its own, with a dashboard below /proxyos/ and further directives.
func serve(t testing.TB, directives ...string) *lab.Child {
	t.Helper()
	c := lab.NewChild(t)
	c.Write(lab.Adapt(t, quick+c.Site(withControls+strings.Join(directives, "\n"))))
	c.Start()
	return c
}

// routePath is the page of the route app.
const routePath = "/proxyos/?route=app"

// traffic sends requests, so many a second, until it is stopped or the test ends.
func traffic(t testing.TB, c *lab.Child, perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(perSecond))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if res, err := c.Client.Get(c.URL + "/"); err == nil { // Caddy may be killed
				res.Body.Close()
			}
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// pair starts a production and a staging backend.
func pair(t testing.TB) (prod, stag *proxytest.Backend) {
	t.Helper()
	return proxytest.Plain(t, "production", ""), proxytest.Plain(t, "staging", "")
}

// wantStaging fails the test unless exactly so many of the next hundred requests go to staging.
func wantStaging(t testing.TB, c *lab.Child, n int) {
	t.Helper()
	if got := c.Tally(100); got["staging"] != n || got["production"] != 100-n {
		t.Errorf("of a hundred requests staging got %v, want %d", got, n)
	}
}

// directive is the directive of a route.
func directive(addresses string, subdirectives ...string) string {
	return fmt.Sprintf("proxyos %s {\n\t%s\n}", addresses, strings.Join(subdirectives, "\n\t"))
}
