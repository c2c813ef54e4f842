package examples_test

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Runs what compose.yaml runs, as processes: the names of its services are addresses here.
func TestComposeSplitsAHundredRequestsAsThePageShows(t *testing.T) {
	var compose struct {
		Services map[string]struct{ Command []string }
	}
	if err := yaml.Unmarshal(read(t, "../compose.yaml"), &compose); err != nil {
		t.Fatal(err)
	}
	caddy := build(t)
	config := string(read(t, "compose/Caddyfile"))
	for _, name := range []string{"production", "staging"} {
		address := proxytest.FreeAddr(t)
		config = strings.Replace(config, name+":3000", address, 1)
		args := compose.Services[name].Command
		for i := range args {
			args[i] = strings.Replace(args[i], ":3000", address, 1)
		}
		process(t, caddy, args...)
		await(t, "http://"+address)
	}
	front := proxytest.FreeAddr(t)
	config = "{\n\tadmin " + proxytest.FreeAddr(t) + "\n}\n" + strings.Replace(config, ":80 {", "http://"+front+" {", 1)
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	process(t, caddy, "run", "--config", file)
	await(t, "http://"+front) // the first request of the split

	answers := make(map[string]int)
	for range 100 {
		answers[get(t, "http://"+front)]++
	}
	if want := map[string]int{"production\n": 90, "staging\n": 10}; !maps.Equal(answers, want) {
		t.Errorf("the answers are %v, want %v", answers, want)
	}
	if page := string(read(t, "../docs/install.md")); !strings.Contains(page, "     90 production\n     10 staging\n") {
		t.Error("docs/install.md does not show that")
	}
}

// process runs caddy in an empty home folder until the test ends.
func process(t *testing.T, caddy string, args ...string) {
	t.Helper()
	home := t.TempDir()
	var output bytes.Buffer
	command := exec.Command(caddy, args...)
	command.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("caddy %v:\n%s", args, output.String())
		}
	})
}

// await returns once there is an answer.
func await(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get(url)
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
