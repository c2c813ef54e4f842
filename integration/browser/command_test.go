//go:build browser

package browser

import (
	"bufio"
	"net/url"
	"syscall"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

func TestTheCommandsPageShowsAndSteersForOneBrowser(t *testing.T) {
	t.Parallel()
	prod, stag := pair(t)
	c := lab.StartChild(t, directive(prod.Addr, "name app", "staging "+stag.Addr, "traffic_split 10"))
	command := c.CLI("proxyos", "dashboard", "--address", c.Admin)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGINT) // it may have ended
		if err := command.Wait(); err != nil {
			t.Errorf("the command ended with %v", err)
		}
	})
	link, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(link[:len(link)-1])
	if err != nil {
		t.Fatal(err)
	}

	b, other := newTab(t, at.Host), newTab(t, at.Host)
	b.openLive(at.RequestURI())
	if address := get[string](b, "location.href"); address != "http://"+at.Host+at.Path {
		t.Errorf("the page is at %s", address)
	}
	b.press("app")
	b.wait("the page of the route is live", isLive+` && document.querySelector("h1").innerText.includes("app")`)
	b.press("Promote")
	b.waitShare("100 %")
	wantStaging(t, c, 100)
	b.open(at.Path) // the cookie is enough
	b.wait("the page is live", isLive)

	other.expect("(Forbidden)")
	other.expect("(Unauthorized)")
	other.open(at.RequestURI()) // the link was used
	if text := get[string](other, "document.body.innerText"); text == "" || get[bool](other, `document.querySelector("table") !== null`) {
		t.Errorf("another browser sees %q", text)
	} else {
		t.Logf("another browser is told: %s", text)
	}
}
