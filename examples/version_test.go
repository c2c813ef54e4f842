package examples_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

func TestTheVersionsAreTold(t *testing.T) {
	c := lab.NewChild(t)
	c.Binary = build(t) // a test binary does not know what it is made of
	c.Write(`{}`)
	c.Start()
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, diagnostics strings.Builder
		command := c.CLI(append([]string{"proxyos", "version"}, args...)...)
		command.Stdout, command.Stderr = &out, &diagnostics
		if err := command.Run(); err != nil {
			code = lab.ExitCode(err)
		}
		return code, out.String(), diagnostics.String()
	}
	code, stdout, stderr := run()
	for _, want := range []string{"proxyos  ", "commit   ", "Caddy    v2.", "Go       " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH} {
		if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("version exits with %d, and prints no %q:\n%s%s", code, want, stdout, stderr)
		}
	}
	code, stdout, stderr = run("--json")
	printed := lab.Decode[map[string]any](t, stdout)
	if code != 0 || stderr != "" || printed["version"] == "" || printed["go"] != runtime.Version() || !strings.HasPrefix(printed["caddy"].(string), "v2.") {
		t.Errorf("version --json exits with %d:\n%s%s", code, stdout, stderr)
	}
	status, answer := c.Ask(http.MethodGet, "/proxyos/", "")
	running := lab.Decode[map[string]any](t, answer)
	a, _ := json.Marshal(printed)
	b, _ := json.Marshal(running)
	if status != http.StatusOK || string(a) != string(b) {
		t.Errorf("the admin API answers with %d %s, the command with %s", status, b, a)
	}
	for _, ask := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"POST", "/proxyos/", http.StatusMethodNotAllowed, "use GET"},
		{"GET", "/proxyos/route", http.StatusNotFound, "GET /proxyos/routes lists all routes"},
	} {
		if status, answer := c.Ask(ask.method, ask.path, ""); status != ask.status || !strings.Contains(answer, ask.want) {
			t.Errorf("%s %s: %d %s", ask.method, ask.path, status, answer)
		}
	}
}

// The image's health check asks the admin API for something that is there without any route.
func TestTheImagesHealthCheckIsAnswered(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	url := regexp.MustCompile(`(?s)HEALTHCHECK.*?http://127\.0\.0\.1:2019(/\S*)"`).FindStringSubmatch(string(text))
	if url == nil {
		t.Fatal("the Dockerfile has no health check of the admin API")
	}
	s := lab.Run(t, "respond ok") // no route of proxyos
	if status, answer := s.Ask(http.MethodGet, url[1], ""); status != http.StatusOK {
		t.Errorf("GET %s: %d %s", url[1], status, answer)
	}
}
