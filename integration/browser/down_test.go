//go:build browser

package browser

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestAKilledUpstreamIsShownDownAndUpAgain(t *testing.T) {
	t.Parallel()
	one, two := proxytest.Plain(t, "one", ""), proxytest.Plain(t, "two", "")
	c := serve(t, directive(one.Addr+" "+two.Addr, "name app", "fail_duration 2s"))
	traffic(t, c, 50)
	overview, b := newTab(t, c.Addr), newTab(t, c.Addr)
	overview.openLive("/proxyos/")
	b.openLive(routePath)
	best := time.Hour
	for try := 0; try < 3 && best > 2*time.Second; try++ { // others may use the machine
		overview.waitText("tbody", "2 of 2 up")
		two.Stop()
		proxytest.Eventually(t, "a request fails", func() bool {
			return c.Healths()[1] != "up"
		})
		began := time.Now()
		b.waitText(".trouble", "connection refused")
		best = min(best, time.Since(began))
		b.waitText("table.upstreams", "down")
		b.waitText("table.upstreams", "since")
		overview.waitText("tbody", "1 of 2 up")
		if class := get[string](overview, `[...document.querySelectorAll("td span")].find(e => e.innerText.includes("1 of 2 up")).closest("[class]").className`); class == "good" {
			t.Error("one of two is up, and that is green")
		}
		b.shoot("down")
		two.Start()
		b.wait("nothing is said to be down", `![...document.querySelectorAll(".trouble")].some(e => e.checkVisibility())`)
		overview.waitText("tbody", "2 of 2 up")
	}
	t.Logf("shown after %s", best.Round(time.Millisecond))
	if best > 2*time.Second {
		t.Errorf("it is shown to be down after %s at best", best)
	}
}

func TestTheLineToWriteIsCopied(t *testing.T) {
	t.Parallel()
	// it speaks HTTPS, and says so in no other way
	wantsTLS := proxytest.NewRawServer(t, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, "\x15\x03\x01\x00\x02\x02\x46") // an alert
	})
	plain := proxytest.Plain(t, "plain", "")
	c := serve(t, directive("http://"+wantsTLS.Addr+" "+plain.Addr, "name app", "fail_duration 1m"))
	traffic(t, c, 20)
	b := newTab(t, c.Addr)
	b.permit("clipboard-read")
	b.openLive(routePath)
	b.waitText(".trouble", "it wants HTTPS")
	b.waitText(".trouble code", "https://"+wantsTLS.Addr)
	b.press("Copy the line to write")
	b.waitText(".trouble button", "Copied")
	if got := get[string](b, "navigator.clipboard.readText()"); got != "https://"+wantsTLS.Addr {
		t.Errorf("the clipboard has %q, want https://%s", got, wantsTLS.Addr)
	}
	b.shoot("line")
}
