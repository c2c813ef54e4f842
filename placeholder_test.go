package proxyos

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/probe"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Caddy takes an empty host for localhost, and cannot connect to a value with a scheme. Both are
// known at load, and must not stay silent until a request comes.
func TestUnusablePlaceholdersAreWarnedOfAtLoad(t *testing.T) {
	t.Setenv("PROXYOS_TEST_URL", "http://127.0.0.1:1")
	t.Setenv("PROXYOS_TEST_APP", "127.0.0.1:1")
	if err := os.Unsetenv("PROXYOS_TEST_NONE"); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"{env.PROXYOS_TEST_NONE}:80": "PROXYOS_TEST_NONE is not set, so {env.PROXYOS_TEST_NONE}:80 means localhost:80; set it in Caddy's environment",
		"{env.PROXYOS_TEST_URL}":     "the value of its placeholder has a scheme; put only host and port into the value",
		"{env.PROXYOS_TEST_APP}":     "",
		"{http.request.header.X}:80": "",
	} {
		caddy := runCaddyOnce(t, "proxyos "+address)
		entries := caddy.Logs.Entries("a placeholder of an upstream has no usable value")
		switch {
		case want == "" && len(entries) != 0:
			t.Errorf("%s is warned of: %v", address, entries)
		case want == "":
		case len(entries) != 1 || !strings.HasPrefix(entries[0]["hint"].(string), want) || entries[0]["level"] != "warn" || entries[0]["upstream"] != address:
			t.Errorf("%s: logged is %v, want %q", address, entries, want)
		}
	}
}

// runCaddyOnce is runCaddy for one of several loads in a test.
func runCaddyOnce(t *testing.T, directives string) (c labCaddy) {
	t.Run("", func(t *testing.T) { c = runCaddy(t, directives) })
	return c
}

// What a probe of a placeholder advises can be written, and explain has nothing to say against it.
func TestAdviceAboutPlaceholdersDoesNotLoop(t *testing.T) {
	plain, secure := proxytest.Listen(t, ""), proxytest.Listen(t, "")
	proxytest.Serve(t, plain, nil)
	proxytest.Serve(t, secure, proxytest.Serving(proxytest.SelfSigned(t, secure.Addr().String())))
	t.Setenv("PROXYOS_TEST_SECURE", secure.Addr().String())
	t.Setenv("PROXYOS_TEST_URL", "https://"+secure.Addr().String())

	report := probeOf(t, "{env.PROXYOS_TEST_SECURE}")
	if warnings := warningsOf(t, report.Caddyfile); len(warnings) > 0 {
		t.Errorf("advised is\n%s\nwhich is warned of: %q", report.Caddyfile, warnings)
	}
	caddy := runCaddy(t, report.Caddyfile)
	if status, _ := caddy.Get("/"); status != http.StatusOK {
		t.Errorf("advised is\n%s\nwhich answers %d", report.Caddyfile, status)
	}
	if report := probeOf(t, "{env.PROXYOS_TEST_URL}"); report.Works || !strings.Contains(report.Verdict, "has a scheme; put only host and port into the value") {
		t.Errorf("a value with a scheme: %q", report.Verdict)
	}
}

func probeOf(t *testing.T, address string) probeReport {
	t.Helper()
	backends, err := resolve([]Upstream{{Address: address}}, nil, defaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	return probeBackend(t.Context(), backends[0], &probe.Prober{Timeout: 5 * time.Second}, io.Discard)
}

// A request that no upstream could take is logged with the reason, also where handle_errors has
// moved Caddy's own line to debug.
func TestARequestThatNobodyCouldTakeIsLogged(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	server := proxytest.Plain(t, "app", "")
	server.Answer(func(w http.ResponseWriter, _ *http.Request) {
		held <- struct{}{}
		<-hold
	})
	caddy := runCaddy(t, "proxyos {\nname app\nupstream "+server.Addr+" {\nmax_requests 1\n}\n}\nhandle_errors {\nrespond \"{err.message}\" 503\n}")
	done := make(chan struct{})
	go func() {
		defer close(done)
		caddy.Get("/")
	}()
	<-held
	for range 3 {
		if status, body := caddy.Get("/"); status != http.StatusServiceUnavailable || !strings.Contains(body, "hint: all its upstreams have reached their max_requests; raise it") {
			t.Errorf("a full upstream: %d %q", status, body)
		}
	}
	close(hold)
	<-done
	if entries := caddy.Logs.Entries("no upstream could take a request"); len(entries) != 1 || entries[0]["level"] != "warn" || entries[0]["group"] != production || entries[0]["route"] != "app" {
		t.Errorf("logged is %v", entries)
	}
}

// A failure whose cause is not known has no hint, and is logged all the same.
func TestUnknownFailuresAreLoggedToo(t *testing.T) {
	server := proxytest.NewRawServer(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 ready\r\n")
	})
	caddy := runCaddy(t, "proxyos "+server.Addr+"\nhandle_errors {\nrespond \"sorry\" 502\n}")
	for range 3 {
		if status, _ := caddy.Get("/"); status != http.StatusBadGateway {
			t.Errorf("status %d", status)
		}
	}
	if entries := caddy.Logs.Entries("an upstream does not answer as it should"); len(entries) != 1 || entries[0]["error"] == nil || entries[0]["level"] != "warn" {
		t.Errorf("logged is %v", entries)
	}
}
