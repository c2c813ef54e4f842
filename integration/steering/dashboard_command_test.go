package steering

import (
	"bufio"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The command serves the page to whoever opens its link first, and to nobody else, and steers by the admin API.
func TestTheDashboardCommand(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := startChild(t, blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10"))
	command := c.CLI("proxyos", "dashboard", "--address", c.Admin)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Process.Kill()
	link, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	link = strings.TrimSpace(link)
	at, err := url.Parse(link)
	if err != nil || !strings.HasPrefix(at.Host, "127.0.0.1:") {
		t.Fatalf("the link is %q, %v", link, err)
	}
	page := "http://" + at.Host + at.Path
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser, stranger := &http.Client{Jar: jar}, &http.Client{}
	ask := func(client *http.Client, method, link, body string, fields ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, link, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == "Host" {
				req.Host = fields[i+1]
				continue
			}
			req.Header.Set(fields[i], fields[i+1])
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	wants := func(status int, part string, client *http.Client, method, link, body string, fields ...string) {
		t.Helper()
		if got, text := ask(client, method, link, body, fields...); got != status || !strings.Contains(text, part) {
			t.Errorf("%s %s with %v is answered with %d %s, want %d with %q", method, link, fields, got, text, status, part)
		}
	}
	wants(403, "Open the link", browser, "GET", page, "")
	wants(403, "not valid", browser, "GET", page+"?token=guessed", "")
	wants(421, "only at", browser, "GET", link, "", "Host", "evil.test")
	wants(200, "Go on to the dashboard", browser, "GET", link, "")
	wants(403, "not valid, or has been used", stranger, "GET", link, "")
	wants(200, "app", browser, "GET", page, "")
	wants(403, "Open the link", stranger, "GET", page, "")
	wants(403, "Open the link", browser, "GET", "http://"+at.Host+"/", "")
	wants(403, "Another page", browser, "GET", page+"data", "", "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors")

	const change = `{"action":"split","route":"app","percent":70}`
	wants(403, "", browser, "POST", page+"change", change, "Content-Type", "application/json", "Sec-Fetch-Site", "same-site")
	wants(403, "", stranger, "POST", page+"change", change, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
	if got := c.Route().TrafficSplit; got != 10 {
		t.Fatalf("the share is %v %%", got)
	}
	wants(200, "", browser, "POST", page+"change", change, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
	if r := c.Route(); r.TrafficSplit != 70 || !strings.Contains(r.Override.SetBy, "@") {
		t.Errorf("the route is %+v", r)
	}
	wants(200, "70 %", browser, "GET", page, "")

	stream, err := browser.Get(page + "events") // which must not keep it from ending
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if err := command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("interrupted, it ends with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("interrupted, it goes on")
	}
}

func TestTheDashboardCommandIsForThisMachine(t *testing.T) {
	t.Parallel()
	c := newChild(t)
	for listen, want := range map[string]string{
		"0.0.0.0:0":      "only for this machine",
		":8080":          "only for this machine",
		"192.168.1.1:80": "only for this machine",
		"localhost":      "write an address such as 127.0.0.1:0",
	} {
		wantsSteer(c, 2, want, "dashboard", "--listen", listen)
	}
	wantsSteer(c, 1, "is Caddy running?", "dashboard")
}
