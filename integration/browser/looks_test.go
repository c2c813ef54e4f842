//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// busy runs a Caddy whose route app shows all that there is: an upstream that is down, one whose certificate is
// not checked, one that is drained, weights, a release that runs and waits, changes. Another route has no name.
func busy(t testing.TB) *lab.Child {
	t.Helper()
	prod, stag := pair(t)
	tls, dead := proxytest.Untrusted(t, "production", ""), proxytest.Plain(t, "dead", "")
	dead.Stop()
	idle := proxytest.Plain(t, "production", "")
	c := serve(t,
		"handle_path /unnamed/* {\n"+directive(prod.Addr)+"\n}",
		directive(prod.Addr+" https://"+tls.Addr+" "+dead.Addr+" "+idle.Addr, "name app", "staging "+stag.Addr, "traffic_split 0", "skip_tls_verify", "fail_duration 10m", release))
	c.Steer(idle, `{"state": "drain", "by": "somebody"}`)
	c.Steer(prod, `{"weight": 2, "by": "somebody"}`)
	if status, answer := c.Ask("POST", "/proxyos/routes/app/release", `{"action": "start", "by": "somebody"}`); status != 200 {
		t.Fatalf("starting the release: %d %s", status, answer)
	}
	stop := traffic(t, c, 100)
	proxytest.Eventually(t, "the release waits for an approval alone, and the dead upstream is down", func() bool {
		_, answer := c.Ask("GET", "/proxyos/routes/app/release", "")
		state := lab.Decode[struct{ Reason string }](t, answer)
		return strings.HasPrefix(state.Reason, "waiting for somebody to approve") && c.Healths()[2] == "down"
	})
	stop()
	return c
}

// The pages that there are.
var pages = map[string]string{
	"overview": "/proxyos/",
	"route":    routePath,
	"missing":  "/proxyos/?route=other",
}

// The windows in which they are looked at, in pixels.
var windows = map[string][2]int64{
	"phone":   {360, 740},
	"tablet":  {800, 1100},
	"desktop": {1440, 900},
}

func TestPagesFitAndCanBeRead(t *testing.T) {
	t.Parallel()
	c := busy(t)
	t.Run("group", func(t *testing.T) {
		for name, path := range pages {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newTab(t, c.Addr)
				b.expect("404 (Not Found)")
				b.openLive(path)
				if name == "route" {
					b.waitText(".trouble", "connection refused")
					b.waitText("#release", "running")
				}
				for _, scheme := range []string{"light", "dark"} {
					b.scheme(scheme)
					for window, size := range windows {
						b.size(size[0], size[1])
						for _, fault := range get[[]string](b, overflow) {
							t.Errorf("%s, %s: %s", window, scheme, fault)
						}
						b.shoot(strings.Join([]string{name, window, scheme}, " "))
					}
					for _, fault := range get[[]string](b, contrast) {
						t.Errorf("%s: %s", scheme, fault)
					}
				}
				for _, fault := range get[[]string](b, structure) {
					t.Error(fault)
				}
				b.wantNames()
				b.wantKeyboard()
			})
		}
	})
}

// wantNames fails the test for controls of which a reader of screens would not say what they are.
func (b *tab) wantNames() {
	b.Helper()
	roles := []string{"button", "link", "textbox", "spinbutton", "slider", "progressbar", "navigation", "group"}
	found := 0
	b.do("asking for names", chromedp.ActionFunc(func(ctx context.Context) error {
		nodes, err := accessibility.GetFullAXTree().Do(ctx)
		for _, node := range nodes {
			if node.Ignored || node.Role == nil || !slices.Contains(roles, told(node.Role)) {
				continue
			}
			if found++; strings.TrimSpace(told(node.Name)) == "" {
				b.Errorf("a %s has no name", told(node.Role))
			}
		}
		return err
	}))
	if found < 2 {
		b.Errorf("only %d things have a name", found)
	}
}

func told(value *accessibility.Value) string {
	if value == nil {
		return ""
	}
	var text string
	_ = json.Unmarshal(value.Value, &text) // it may be of another type
	return text
}

// wantKeyboard fails the test unless all controls are reached with the tab key, and one sees where one is.
func (b *tab) wantKeyboard() {
	b.Helper()
	type focus struct {
		Index       int
		Name, Fault string
	}
	want := get[[]int](b, focusable)
	get[bool](b, "document.activeElement.blur() === undefined")
	reached := make(map[int]string)
	for range 2*len(want) + 5 {
		b.do("pressing the tab key", chromedp.KeyEvent(kb.Tab))
		at := get[focus](b, focused)
		if at.Index < 0 {
			continue
		}
		if _, again := reached[at.Index]; again {
			break
		}
		reached[at.Index] = at.Name
		if at.Fault != "" {
			b.Errorf("with the focus on %q: %s", at.Name, at.Fault)
		}
	}
	for _, index := range want {
		if _, is := reached[index]; !is {
			b.Errorf("the tab key does not reach %s", get[string](b, fmt.Sprintf(`document.querySelectorAll("*")[%d].outerHTML`, index)))
		}
	}
}

// texts is what a page shows, by the name of what is shown, without what may change by itself.
const texts = `Object.fromEntries([...document.querySelectorAll("[data-cell]")]
	.filter(e => e.checkVisibility() && e.innerText && e.dataset.cell !== "at" && !e.closest("[data-js]"))
	.filter(e => !/most|lasted|since/.test(e.dataset.cell))
	.map(e => [e.dataset.cell, e.innerText.trim()]))`

func TestThePageIsCompleteWithoutJavaScript(t *testing.T) {
	t.Parallel()
	c := busy(t)
	with, without := newTab(t, c.Addr), newTab(t, c.Addr)
	without.do("switching JavaScript off", emulation.SetScriptExecutionDisabled(true))
	for name, path := range pages {
		if name == "missing" {
			continue
		}
		with.openLive(path)
		without.size(1280, 900) // as the other
		var live, still map[string]string
		for deadline := time.Now().Add(patience); ; { // the rates of a moment ago end
			without.open(path)
			live, still = get[map[string]string](with, texts), get[map[string]string](without, texts)
			if maps.Equal(live, still) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("with JavaScript %s shows\n%v\nand without\n%v", name, live, still)
			}
		}
		if len(live) < 10 {
			t.Errorf("%s shows only %v", name, live)
		}
		if text := get[string](without, `document.getElementById("status").innerText`); text == "live" {
			t.Errorf("%s says that it is live without JavaScript", name)
		}
		controls := get[[]string](without, `[...document.querySelectorAll("button, input, select, form")].filter(e => e.checkVisibility()).map(e => e.outerHTML)`)
		if len(controls) > 0 {
			t.Errorf("%s offers controls that do nothing: %v", name, controls)
		}
		for window, size := range windows {
			without.size(size[0], size[1])
			for _, fault := range get[[]string](without, overflow) {
				t.Errorf("%s on %s: %s", name, window, fault)
			}
			without.shoot(name + " " + window + " without JavaScript")
		}
	}
}
