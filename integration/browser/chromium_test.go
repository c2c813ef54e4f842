//go:build browser

package browser

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

func TestMain(m *testing.M) { lab.Main(chromium{m}) }

// chromium runs tests with a browser for all of them.
type chromium struct{ tests *testing.M }

// started is the context of that browser.
var started context.Context

// Run starts the browser, runs the tests and ends it.
func (c chromium) Run() int {
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		panic(err)
	}
	defer func() {
		if err := os.RemoveAll(profile); err != nil {
			fmt.Fprintf(os.Stderr, "removing what chromium has kept: %v\n", err)
		}
	}()
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"),
		chromedp.UserDataDir(profile),
		chromedp.NoSandbox, // which root cannot have
		chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.WSURLReadTimeout(time.Minute),
	)...)
	defer end()
	started, _ = chromedp.NewContext(allocator, chromedp.WithErrorf(func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "chromium: "+format+"\n", args...)
	}))
	defer func() { // waits until it has ended, and writes no files any more
		if err := chromedp.Cancel(started); err != nil {
			fmt.Fprintf(os.Stderr, "ending chromium: %v\n", err)
		}
	}()
	if err := chromedp.Run(started); err != nil {
		fmt.Fprintf(os.Stderr, "starting chromium: %v; install it with apt-get install chromium\n", err)
		return 1
	}
	return c.tests.Run()
}
