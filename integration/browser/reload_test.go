//go:build browser

package browser

import (
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestPagesComeBackByThemselves(t *testing.T) {
	t.Parallel()
	prod, stag := pair(t)
	c := serve(t, directive(prod.Addr, "name app", "staging "+stag.Addr, "traffic_split 10"))
	overview, b := newTab(t, c.Addr), newTab(t, c.Addr)
	overview.openLive("/proxyos/")
	b.openLive(routePath)
	for _, tab := range []*tab{overview, b} {
		tab.expect("net::ERR_") // connections that end
	}

	reload := func(further string, subdirectives ...string) {
		config := quick + c.Site(withControls+directive(prod.Addr, append(subdirectives, "name app")...)+further)
		// the admin endpoint is replaced, too, a moment after it has answered to the reload before
		proxytest.Eventually(t, "the config is taken", func() bool { return c.Load(config) == nil })
	}
	for _, split := range []string{"20", "30"} {
		before := []int{overview.asked("/events"), b.asked("/events")}
		reload("", "staging "+stag.Addr, "traffic_split "+split)
		for i, tab := range []*tab{overview, b} {
			tab.waitText("main", split+" %")
			tab.wait("the page is live again", isLive)
			if tab.asked("/events") == before[i] {
				t.Error("the events did not end with the config")
			}
		}
	}

	reload("\nhandle_path /other/* {\n"+directive(stag.Addr, "name other")+"\n}", "staging "+stag.Addr, "traffic_split 30")
	overview.waitText("tbody", "other") // the page has opened itself anew
	overview.wait("the page is live again", isLive)

	// where something is being written, it does not
	b.write("share of staging in percent", "70")
	reload("", "traffic_split 30", "staging "+stag.Addr+" "+prod.Addr)
	b.waitText("#stale", "The configuration has changed")
	if got := get[string](b, `document.querySelector("input[name=percent]").value`); got != "70" {
		t.Errorf("what was written is replaced by %s", got)
	}
	b.press("Reload")
	b.wait("the page is live again", isLive+` && document.getElementById("stale").hidden`)

	prepared := lab.Adapt(t, quick+c.Site(withControls+directive(prod.Addr, "name app", "staging "+stag.Addr, "traffic_split 40")))
	c.Kill()
	for _, tab := range []*tab{overview, b} {
		tab.waitText("#status", "not connected")
	}
	b.shoot("not connected")
	c.Write(prepared)
	c.Start()
	for _, tab := range []*tab{overview, b} {
		tab.waitText("main", "40 %")
		tab.wait("the page is live again", isLive)
	}
}
