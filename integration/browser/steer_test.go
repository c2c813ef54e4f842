//go:build browser

package browser

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestTheShareIsSetWithTheSliderAndUndone(t *testing.T) {
	t.Parallel()
	prod, stag := pair(t)
	c := serve(t, directive(prod.Addr, "name app", "staging "+stag.Addr, "traffic_split 10"))
	b := newTab(t, c.Addr)
	b.openLive("/proxyos/")
	b.press("app")
	b.wait("the page of the route is live", isLive+` && document.querySelector("h1").innerText.includes("app")`)
	wantStaging(t, c, 10)

	get[bool](b, `document.querySelector("input[type=range]").focus() || true`)
	b.do("moving the slider", chromedp.KeyEvent(strings.Repeat(kb.ArrowRight, 30)))
	if got := get[string](b, `document.querySelector("input[name=percent]").value`); got != "40" {
		t.Errorf("the field beside the slider has %s, want 40", got)
	}
	wantStaging(t, c, 10) // nothing is applied yet
	b.do("giving up", chromedp.KeyEvent(kb.Escape))
	if got := get[string](b, `document.querySelector("input[type=range]").value`); got != "10" {
		t.Errorf("after Escape the slider is at %s, want 10", got)
	}
	b.do("moving the slider again", chromedp.KeyEvent(strings.Repeat(kb.ArrowRight, 30)))
	b.press("Apply")
	b.waitText(".answer", "Done")
	wantStaging(t, c, 40)
	b.waitShare("40 %")

	b.write("share of staging in percent", "85"+kb.Enter)
	b.waitShare("85 %")
	wantStaging(t, c, 85)
	b.waitText("table.changes", "85 %")

	b.press("Undo")
	b.waitShare("40 %")
	wantStaging(t, c, 40)
	if got := get[string](b, `document.querySelector("input[type=range]").value`); got != "40" {
		t.Errorf("the slider is at %s, want 40", got)
	}
	b.press("Promote")
	b.waitShare("100 %")
	wantStaging(t, c, 100)
	b.press("Rollback")
	b.waitShare("0 %")
	wantStaging(t, c, 0)
	b.press("Reset 10 %")
	b.waitShare("10 %")
	wantStaging(t, c, 10)
}

func TestAChangeBySomebodyElseIsNotOverwritten(t *testing.T) {
	t.Parallel()
	prod, stag := pair(t)
	c := serve(t, directive(prod.Addr, "name app", "staging "+stag.Addr, "traffic_split 10"))
	b := newTab(t, c.Addr)
	b.expect("409 (Conflict)")
	b.openLive(routePath)
	b.write("share of staging in percent", "70")
	c.Split(33)
	b.waitShare("33 %")
	if got := get[string](b, `document.querySelector("input[name=percent]").value`); got != "70" {
		t.Errorf("what was written is replaced by %s", got)
	}
	b.press("Apply")
	b.waitText("[role=alert]", "it has changed since you looked")
	wantStaging(t, c, 33)
	b.shoot("conflict")
	b.press("Apply") // now that one knows
	b.waitShare("70 %")
	wantStaging(t, c, 70)
}

func TestUpstreamsAreDrainedWeighedAndProbed(t *testing.T) {
	t.Parallel()
	one, two := proxytest.Plain(t, "one", ""), proxytest.Untrusted(t, "two", "")
	c := serve(t, directive(one.Addr+" https://"+two.Addr, "name app", "skip_tls_verify"))
	b := newTab(t, c.Addr)
	b.openLive(routePath)
	want := func(first, second int) {
		t.Helper()
		if got := c.Tally(first + second); got["one"] != first || got["two"] != second {
			t.Errorf("the upstreams got %v, want %d and %d", got, first, second)
		}
	}
	want(10, 10)
	b.press("Drain " + one.Addr)
	b.waitText("table.upstreams", "drained")
	want(0, 20)
	b.press("Ready " + one.Addr)
	b.wait("it is ready again", `![...document.querySelectorAll("table.upstreams td[data-label=State]")].some(e => e.innerText.includes("drained"))`)
	want(10, 10)
	b.write("Weight of "+one.Addr, "3"+kb.Enter)
	b.wait("its weight is shown", `document.querySelector("table.upstreams td[data-label=Weight]").innerText.includes("3")`)
	want(30, 10)
	b.press("Reset " + one.Addr)
	b.wait("its weight is the configured one", `document.querySelector("table.upstreams td[data-label=Weight]").innerText.trim() === "1"`)
	want(10, 10)

	b.press("Drain " + one.Addr)
	b.waitText("table.upstreams", "drained")
	b.expect("409 (Conflict)")
	b.press("Drain https://" + two.Addr)
	b.waitText(".answer", "Not done")
	want(0, 10)
	b.press("Do it all the same")
	b.wait("both are drained", `[...document.querySelectorAll("table.upstreams td[data-label=State]")].every(e => e.innerText.includes("drained"))`)
	b.press("Ready https://" + two.Addr)

	b.press("Probe https://" + two.Addr)
	b.waitText(".answer", "The probe works")
	for _, line := range []string{"connect", "tls unchecked", "https", "It works as written", "tls_pin"} {
		b.waitText(".probe", line)
	}
	b.shoot("probe")
	two.Stop()
	b.press("Probe https://" + two.Addr)
	b.waitText(".answer", "The probe has failed")
	b.waitText(".probe", "connection refused")
}

func TestADashboardWithoutControlsHasNone(t *testing.T) {
	t.Parallel()
	prod, stag := pair(t)
	c := serve(t, "handle_path /shown/* {\nproxyos_dashboard\n}",
		directive(prod.Addr, "name app", "staging "+stag.Addr, "traffic_split 10", "release {\nsteps 10 100\n}"))
	b := newTab(t, c.Addr)
	b.expect("403 (Forbidden)")
	for _, path := range []string{"/shown/", "/shown/?route=app"} {
		b.openLive(path)
		b.waitText("main", "Read-only")
		if n := get[int](b, `[...document.querySelectorAll("button:not([data-copy], #reload), input:not([type=hidden]), select, textarea, form, [data-action]")].length`); n != 0 {
			t.Errorf("%s has %d controls", path, n)
		}
	}
	status := get[int](b, `fetch("change", {method: "POST", headers: {"Content-Type": "application/json"},
		body: JSON.stringify({action: "split", route: "app", percent: 50})}).then(answer => answer.status)`)
	if status != http.StatusForbidden {
		t.Errorf("a change is answered with %d", status)
	}
	if got := fmt.Sprint(c.Route().TrafficSplit); got != "10" {
		t.Errorf("the share is %s", got)
	}
}
