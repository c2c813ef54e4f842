//go:build browser

package browser

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// hostile is what somebody would write to be more than text; shown is how it is to be seen.
const (
	hostile = "<img src=x onerror=alert(1)>\"'</script><b>\u202egnp\x1b[7m"
	shown   = `<img src=x onerror=alert(1)>"'</script><b>\u202egnp\x1b[7m`
)

func TestWhatComesFromElsewhereIsText(t *testing.T) {
	t.Parallel()
	certificate := proxytest.NewAuthority(t).Sign(t, &x509.Certificate{
		Subject:   pkix.Name{CommonName: hostile},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
	tls := proxytest.SignedBy(t, proxytest.NewAuthority(t), "tls", "")
	tls.Stop()
	tls.TLS = proxytest.Serving(certificate)
	tls.Start()
	garbage := proxytest.NewRawServer(t, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, hostile+"\r\n")
	})
	stag := proxytest.Plain(t, "staging", "")
	c := lab.NewChild(t)
	config := lab.Adapt(t, quick+c.Site("handle_path /proxyos/* {\nproxyos_dashboard {\ncontrols on\ntitle HOSTILE\n}\n}\n"+
		"handle_path /HOSTILE/* {\n"+directive(stag.Addr)+"\n}\n"+
		directive("https://"+tls.Addr+" "+garbage.Addr, "name app", "staging "+stag.Addr, "skip_tls_verify", "fail_duration 10m")))
	c.Write(strings.ReplaceAll(config, "HOSTILE", strings.Trim(quoted(hostile), `"`)))
	c.Start()
	c.Tally(4)

	overview, b, missing := newTab(t, c.Addr), newTab(t, c.Addr), newTab(t, c.Addr)
	missing.expect("404 (Not Found)")
	overview.openLive("/proxyos/")
	b.openLive(routePath)
	missing.openLive("/proxyos/?route=" + url.QueryEscape(hostile))
	body := fmt.Sprintf(`{"traffic_split": 20, "by": %s}`, quoted(hostile))
	if status, answer := c.Ask(http.MethodPatch, "/proxyos/routes/app", body); status != http.StatusOK {
		t.Fatalf("setting the share: %d %s", status, answer)
	}
	c.Steer(stag, fmt.Sprintf(`{"state": "drain", "force": true, "by": %s}`, quoted(hostile)))

	overview.waitText("tbody a", shown)               // a path
	overview.waitText("table.changes", shown)         // who
	b.waitText("#share ~ p", shown)                   // who
	b.waitText("td[data-label=Certificate]", "<img ") // a subject
	b.waitText(".trouble", "src=x")                   // an answer
	b.waitText("td[data-label=State]", shown)
	missing.waitText("h1", shown)
	b.press("Probe " + garbage.Addr)
	b.waitText(".probe", "src=x")
	b.size(360, 740)
	for _, tab := range []*tab{overview, b, missing} {
		tab.waitText("header", shown) // the title
		if n := get[int](tab, `document.querySelectorAll("img, b, script:not([src]), iframe, object").length`); n != 0 {
			t.Errorf("there are %d elements that nobody wrote", n)
		}
		if is := get[bool](tab, `/[\u202a-\u202e\u2066-\u2069\u0000-\u0008\u000b-\u001f]/.test(document.title + document.documentElement.outerHTML)`); is {
			t.Error("characters that are not to be seen are in the page")
		}
		for _, fault := range get[[]string](tab, overflow) {
			t.Error(fault)
		}
	}
	b.shoot("hostile")
	overview.shoot("hostile overview")

	// nor can a name be such
	named := lab.Adapt(t, c.Site(directive(stag.Addr, "name HOSTILE")))
	if err := c.LoadJSON(strings.ReplaceAll(named, "HOSTILE", strings.Trim(quoted(hostile), `"`))); err == nil {
		t.Error("a route may be named so")
	}
}
