//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// patience is how long tests wait for what must come about. It passes only where one fails.
const patience = 20 * time.Second

// tab is a tab of the browser with cookies and a storage of its own. What a page must not do is recorded,
// and fails the test when that ends.
type tab struct {
	testing.TB
	ctx  context.Context
	host string // the only one that is asked

	apart cdp.BrowserContextID // what this tab shares with no other

	mu       sync.Mutex
	faults   []string
	requests []*network.Request
	expected []string
}

// newTab opens a tab for the pages of a host, such as 127.0.0.1:8080.
func newTab(t testing.TB, host string) *tab {
	t.Helper()
	ofBrowser := cdp.WithExecutor(started, chromedp.FromContext(started).Browser)
	apart, err := target.CreateBrowserContext().WithDisposeOnDetach(true).Do(ofBrowser)
	if err != nil {
		t.Fatalf("keeping a tab apart: %v", err)
	}
	id, err := target.CreateTarget("about:blank").WithBrowserContextID(apart).WithNewWindow(true).Do(ofBrowser)
	if err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	ctx, leave := chromedp.NewContext(started, chromedp.WithTargetID(id))
	ctx, cancel := context.WithTimeout(ctx, 80*time.Second)
	b := &tab{TB: t, ctx: ctx, host: host, apart: apart}
	t.Cleanup(func() {
		cancel()
		leave()
		if err := target.DisposeBrowserContext(apart).Do(ofBrowser); err != nil {
			t.Errorf("closing a tab: %v", err)
		}
		b.judge()
	})
	chromedp.ListenTarget(ctx, b.hear)
	b.do("watching a tab", network.Enable(), audits.Enable(), emulation.SetFocusEmulationEnabled(true))
	b.size(1280, 900)
	return b
}

// hear records what happens in the tab.
func (b *tab) hear(event any) {
	switch event := event.(type) {
	case *runtime.EventConsoleAPICalled:
		var said []string
		for _, arg := range event.Args {
			said = append(said, string(arg.Value)+arg.Description)
		}
		b.fault("console.%s: %s", event.Type, strings.Join(said, " "))
	case *runtime.EventExceptionThrown:
		b.fault("exception: %s", event.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		if event.Entry.Level == log.LevelError || event.Entry.Level == log.LevelWarning {
			b.fault("%s of %s: %s %s", event.Entry.Level, event.Entry.Source, event.Entry.Text, event.Entry.URL)
		}
	case *audits.EventIssueAdded:
		details, _ := json.Marshal(event.Issue.Details)
		b.fault("issue %s: %s", event.Issue.Code, details)
	case *page.EventJavascriptDialogOpening:
		b.fault("a dialog: %s", event.Message)
		go func() { _ = chromedp.Run(b.ctx, page.HandleJavaScriptDialog(false)) }() // the tab may have been closed
	case *page.EventWindowOpen:
		b.fault("a window: %s", event.URL)
	case *network.EventRequestWillBeSent:
		b.mu.Lock()
		b.requests = append(b.requests, event.Request)
		b.mu.Unlock()
		if at, err := url.Parse(event.Request.URL); err != nil || at.Host != b.host && at.Scheme != "data" {
			b.fault("a request to %s", event.Request.URL)
		}
	}
}

func (b *tab) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// expect allows faults with some text, where a test provokes them: a browser reports each answer of 400 and
// above, and each connection that was refused.
func (b *tab) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, text)
}

// judge fails the test for what must not have happened.
func (b *tab) judge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		if !slices.ContainsFunc(b.expected, func(text string) bool { return strings.Contains(fault, text) }) {
			b.Errorf("the page at %s: %s", b.host, fault)
		}
	}
	if len(b.requests) == 0 {
		b.Errorf("no request to %s was recorded", b.host)
	}
}

// asked returns how many requests there were for paths that end in some way.
func (b *tab) asked(suffix string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if at, err := url.Parse(r.URL); err == nil && strings.HasSuffix(at.Path, suffix) {
			n++
		}
	}
	return n
}

// do lets the browser do something.
func (b *tab) do(what string, actions ...chromedp.Action) {
	b.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// permit lets the test do something that a browser asks its user about, such as "clipboard-read".
func (b *tab) permit(what string) {
	b.Helper()
	b.do("permitting "+what, chromedp.ActionFunc(func(ctx context.Context) error {
		return browser.SetPermission(&browser.PermissionDescriptor{Name: what}, browser.PermissionSettingGranted).
			WithBrowserContextID(b.apart).Do(cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser))
	}))
}

// size sets the size of the window, in pixels.
func (b *tab) size(width, height int64) {
	b.Helper()
	b.do("setting the size", emulation.SetDeviceMetricsOverride(width, height, 1, false))
}

// scheme sets the color scheme that the system is said to have: "light" or "dark".
func (b *tab) scheme(name string) {
	b.Helper()
	b.do("setting the color scheme", emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}))
}

// open goes to a page of the host.
func (b *tab) open(path string) {
	b.Helper()
	b.do("opening "+path, chromedp.Navigate("http://"+b.host+path))
}

// openLive goes to a page of the host, and waits until it is live.
func (b *tab) openLive(path string) {
	b.Helper()
	b.open(path)
	b.wait("the page is live", isLive)
}

const isLive = `document.getElementById("status")?.textContent === "live"`

// get returns the value of some JavaScript in the page.
func get[T any](b *tab, script string) (value T) {
	b.Helper()
	if err := b.try(script, &value); err != nil {
		b.Fatalf("%s: %v", script, err)
	}
	return value
}

func (b *tab) try(script string, value any) error {
	return chromedp.Run(b.ctx, chromedp.Evaluate(script, value, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
		return p.WithAwaitPromise(true)
	}))
}

// wait waits until some JavaScript is true in the page.
func (b *tab) wait(what, script string) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var is bool
		err := b.try(script, &is) // which fails while another page is opened
		if err == nil && is {
			return
		}
		if time.Now().After(deadline) {
			b.shoot("failed " + strings.ReplaceAll(b.Name(), "/", " "))
			b.Fatalf("never happened: %s (%s, %v); the page says\n%s", what, script, err, get[string](b, "document.body.innerText"))
		}
	}
}

// waitText waits until what is shown has some text in it.
func (b *tab) waitText(selector, text string) {
	b.Helper()
	b.wait(fmt.Sprintf("%s shows %q", selector, text), fmt.Sprintf("Boolean([...document.querySelectorAll(%s)].some(e => e.checkVisibility() && e.innerText.includes(%s)))", quoted(selector), quoted(text)))
}

// waitShare waits until the page of a route shows a share of staging.
func (b *tab) waitShare(text string) {
	b.Helper()
	b.wait("staging gets "+text, `document.querySelector("#share strong").innerText === `+quoted(text))
}

// quoted returns a string of JavaScript.
func quoted(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}

// find is a JavaScript function that returns the only visible control with an accessible name that begins
// with some text.
const find = `(name => {
	const told = e => (e.getAttribute("aria-label") ?? e.labels?.[0]?.innerText ?? e.innerText).replace(/\s+/g, " ").trim();
	const found = [...document.querySelectorAll("button, a, input:not([type=hidden])")].filter(e => e.checkVisibility() && told(e).startsWith(name));
	return found.length === 1 && !found[0].closest("[aria-busy=true]") ? found[0] : null;
})`

// press clicks on the control with a name, as a mouse does.
func (b *tab) press(name string) {
	b.Helper()
	control := find + "(" + quoted(name) + ")"
	b.wait("there is one control "+name, control+" !== null")
	at := get[[]float64](b, fmt.Sprintf(`(e => {
		e.scrollIntoView({block: "center"});
		const r = e.getBoundingClientRect(), x = r.left + r.width / 2, y = r.top + r.height / 2;
		return e.contains(document.elementFromPoint(x, y)) ? [x, y] : [];
	})(%s)`, control))
	if len(at) != 2 {
		b.Fatalf("something covers the control %s", name)
	}
	b.do("pressing "+name, chromedp.MouseClickXY(at[0], at[1]))
}

// write replaces the content of the field with a name, as a keyboard does.
func (b *tab) write(name, text string) {
	b.Helper()
	field := find + "(" + quoted(name) + ")"
	b.wait("there is one field "+name, field+" !== null")
	get[bool](b, "(e => { e.focus(); e.select(); return true; })("+field+")")
	b.do("writing into "+name, chromedp.KeyEvent(text))
}

// shoot keeps a picture of the whole page in the folder PROXYOS_SHOTS, if that is set.
func (b *tab) shoot(name string) {
	b.Helper()
	folder := os.Getenv("PROXYOS_SHOTS")
	if folder == "" {
		return
	}
	var picture []byte
	b.do("taking a picture", chromedp.FullScreenshot(&picture, 100))
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600); err != nil {
		b.Fatal(err)
	}
}
