//go:build browser

package browser

import (
	"context"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// whenLive notes in each new page how long after the navigation it was live.
const whenLive = `new MutationObserver(() => {
	if (window.liveAt === undefined && document.getElementById("status")?.textContent === "live") window.liveAt = performance.now();
}).observe(document, {subtree: true, childList: true, characterData: true})`

func TestTheQuickstartsPageIsLiveWithinASecond(t *testing.T) {
	for _, address := range []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8443", "127.0.0.1:2019"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatalf("the quickstart needs the address %s, which is in use: stop what listens there and run the test again (%v)", address, err)
		}
		listener.Close()
	}
	caddyfile, err := os.ReadFile("../../examples/quickstart.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	c := lab.NewChild(t)
	c.Admin = "localhost:2019" // as the file has it
	c.Write(lab.Adapt(t, string(caddyfile)))
	c.Start()
	client := proxytest.NewClient(t)
	proxytest.Eventually(t, "the backend with a certificate has it", func() bool {
		res, err := client.Get("https://127.0.0.1:8443/")
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	})
	for range 20 {
		res, err := client.Get("http://localhost:8080/")
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("the quickstart answers %v, %v", res, err)
		}
		res.Body.Close()
	}

	b := newTab(t, "localhost:8080")
	b.do("watching for it", chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(whenLive).Do(ctx)
		return err
	}))
	best := time.Hour
	for try := 0; try < 5 && best > time.Second; try++ { // others may use the machine
		b.openLive("/proxyos/")
		b.wait("it is known when", "window.liveAt !== undefined")
		best = min(best, time.Duration(get[float64](b, "window.liveAt")*float64(time.Millisecond)))
	}
	t.Logf("live after %s", best.Round(time.Millisecond))
	if best > time.Second {
		t.Errorf("the page is live after %s at best", best)
	}
	b.waitText("h1", "Routes")
	b.waitText("tbody", "demo")
	b.waitText("tbody", "2 of 2 up")
	b.waitText("tbody", "10 %")
	b.press("demo")
	b.wait("the page of the route is live", isLive+` && document.querySelector("h1").innerText.includes("demo")`)
	b.waitText("table.upstreams", "127.0.0.1:8443")
	b.wait("its requests are shown", `[...document.querySelectorAll("table.upstreams td[data-label=Requests]")].reduce((n, e) => n + Number(e.innerText), 0) === 20`)
	b.shoot("quickstart")
}
