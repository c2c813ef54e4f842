package examples_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The quickstart's addresses, which are the same on every machine.
const (
	quickstartTLS   = "127.0.0.1:8443"
	quickstartFront = "localhost:8080"
)

var quickstartAddresses = []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082", quickstartTLS, "127.0.0.1:2019"}

func TestQuickstartSplitsAHundredRequestsAsTheReadmeShows(t *testing.T) {
	caddy := build(t)
	for _, address := range quickstartAddresses {
		awaitFree(t, address)
	}
	start(t, caddy, "examples/quickstart.Caddyfile")

	answers := make(map[string]int)
	for range 100 {
		answers[get(t, "http://"+quickstartFront)]++
	}
	want := map[string]int{
		"production: the plain backend on 127.0.0.1:8081\n":             45,
		"production: the self-signed HTTPS backend on 127.0.0.1:8443\n": 45,
		"staging: the next version on 127.0.0.1:8082\n":                 10,
	}
	if !maps.Equal(answers, want) {
		t.Errorf("the answers are %v, want %v", answers, want)
	}

	// the output of `sort | uniq -c`
	var output strings.Builder
	for _, answer := range slices.Sorted(maps.Keys(answers)) {
		fmt.Fprintf(&output, "%7d %s", answers[answer], answer)
	}
	if !strings.Contains(string(read(t, "../README.md")), output.String()) {
		t.Errorf("the README does not show the output\n%s", output.String())
	}
}

// binaries is a folder for what the tests build.
var binaries string

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "caddy"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(binaries)
	os.Exit(code)
}

// buildOnce builds the caddy command for all tests that need it.
var buildOnce = sync.OnceValues(func() (binary string, err error) {
	binary = filepath.Join(binaries, "caddy")
	command := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "./cmd/caddy")
	command.Dir = ".."
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the caddy command: %w\n%s", err, output)
	}
	return binary, nil
})

// build returns the caddy command.
func build(t *testing.T) string {
	t.Helper()
	binary, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// awaitFree waits until nobody listens on an address, and fails if that does not happen.
func awaitFree(t *testing.T, address string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			listener.Close()
			return
		}
	}
	t.Fatalf("the quickstart needs the address %s, which is in use: stop what listens there and run the test again (%v)", address, err)
}

// start runs caddy with a config until the test ends, in an empty home folder, and returns
// once the demo backends answer.
func start(t *testing.T, caddy, config string) {
	t.Helper()
	home := t.TempDir()
	var output bytes.Buffer
	command := exec.Command(caddy, "run", "--config", config)
	command.Dir = ".."
	command.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = command.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("caddy's log:\n%s", output.String())
		}
	})

	deadline := time.After(time.Minute)
	for !isReady() {
		select {
		case <-ended:
			t.Fatal("caddy ended before it was ready")
		case <-deadline:
			t.Fatal("caddy was not ready after a minute")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// isReady tells whether everything listens and the HTTPS backend has its certificate. It makes
// no request to the front, since the split would count it.
func isReady() bool {
	for _, address := range quickstartAddresses {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		connection.Close()
	}
	connection, err := tls.Dial("tcp", quickstartTLS, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return false
	}
	return connection.Close() == nil
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
