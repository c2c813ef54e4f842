package proxyos

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var quietLog = log.New(io.Discard, "", 0)

// labCaddy is a Caddy that serves one site with given directives, and its log.
type labCaddy struct {
	address string
	logFile string
	client  *http.Client
}

// runLabCaddy runs Caddy with a site until the test ends.
func runLabCaddy(t testing.TB, directives string) *labCaddy {
	t.Helper()
	listener := labListen(t, 0)
	c := &labCaddy{
		address: listener.Addr().String(),
		logFile: filepath.Join(t.TempDir(), "caddy.log"),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	_ = listener.Close()
	c.load(t, directives)
	t.Cleanup(func() {
		c.client.CloseIdleConnections()
		_ = caddy.Stop()
	})
	return c
}

// load replaces the directives of the site.
func (c *labCaddy) load(t testing.TB, directives string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(c.address)
	source := "{\n\tadmin off\n\tauto_https off\n\tgrace_period 1s\n\tpersist_config off\n\tlog {\n\t\toutput file " + c.logFile +
		"\n\t\tformat json\n\t\tlevel INFO\n\t}\n}\nhttp://:" + port + " {\n\tbind " + host + "\n" + directives + "\n}\n"
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
}

// get makes a request, and returns the status and the body. It tries again where a reload
// has just closed the connection.
func (c *labCaddy) get(t testing.TB) (int, string) {
	t.Helper()
	res, err := c.client.Get("http://" + c.address + "/")
	for range 3 {
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			res, err = c.client.Get("http://" + c.address + "/")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// logged returns the entries of the log that have a field.
func (c *labCaddy) logged(t testing.TB, field string) []map[string]any {
	t.Helper()
	var entries []map[string]any
	for line := range strings.Lines(c.log(t)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if entry[field] != nil {
			entries = append(entries, entry)
		}
	}
	return entries
}

// log returns the log.
func (c *labCaddy) log(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile(c.logFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// hints returns the hints in the log.
func (c *labCaddy) hints(t testing.TB) string {
	t.Helper()
	var hints []string
	for _, entry := range c.logged(t, "hint") {
		hints = append(hints, entry["hint"].(string))
	}
	return strings.Join(hints, "\n")
}
