package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestChildSurvivesAKill(t *testing.T) {
	app := plain(t, "app", "")
	c := startChild(t, "proxyos "+app.Addr)
	c.Wants(http.StatusOK, "app")
	c.Kill()
	if _, err := c.Client.Get(c.URL); err == nil {
		t.Fatal("a killed Caddy answers")
	}
	c.Start()
	c.Wants(http.StatusOK, "app")
	c.Stop()
	if len(c.Logs.Entries("shutdown complete")) != 1 {
		t.Errorf("no orderly shutdown in the log:\n%s", c.Logs)
	}
}

func TestCommandListsTheModules(t *testing.T) {
	output, err := newChild(t).CLI("list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(output), "\n")
	for _, module := range []string{"http.handlers.proxyos", "proxyos"} {
		if !slices.Contains(lines, module) {
			t.Errorf("list-modules does not show %s", module)
		}
	}
}

func TestCommandAdaptsValidatesAndFormats(t *testing.T) {
	c := newChild(t)
	good, bad := filepath.Join(c.Home, "good.Caddyfile"), filepath.Join(c.Home, "bad.Caddyfile")
	const text = `http://127.0.0.1:9080 {
	proxyos 127.0.0.1:3000 {
		staging 127.0.0.1:8443
		traffic_split 10%
	}
}
`
	for file, content := range map[string]string{good: text, bad: strings.Replace(text, "10%", "ten", 1)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const refusal = `traffic_split: \"ten\" is not a percentage; write a number from 0 to 100, such as 10 or 0.5%, at bad.Caddyfile:4`
	for _, step := range []struct {
		args   []string
		prints string
		fails  bool
	}{
		{[]string{"adapt", "--config", "good.Caddyfile"}, `{"handler":"proxyos","staging":{"upstreams":["127.0.0.1:8443"]},"traffic_split":10,"upstreams":["127.0.0.1:3000"]}`, false},
		{[]string{"validate", "--config", "good.Caddyfile"}, "Valid configuration", false},
		{[]string{"fmt", "good.Caddyfile"}, text, false},
		{[]string{"adapt", "--config", "bad.Caddyfile"}, refusal, true},
		{[]string{"validate", "--config", "bad.Caddyfile"}, refusal, true},
	} {
		output, err := c.CLI(step.args...).CombinedOutput()
		if (err != nil) != step.fails || !strings.Contains(string(output), step.prints) {
			t.Errorf("caddy %s: %v\n%s\nwant %s", strings.Join(step.args, " "), err, output, step.prints)
		}
	}
}
