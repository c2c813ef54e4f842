// Package integration tests proxyos in a whole Caddy, with real clients and real backends.
//
// run, runJSON and bothWays load a config into the Caddy of the test process itself, one at
// a time; startChild runs the caddy command, for tests that kill it or need several. The
// backends of backends_test.go count what reaches them.
package integration

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/proxyos/caddy-proxyos"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if childBuild.dir != "" {
		os.RemoveAll(childBuild.dir)
	}
	os.Exit(code)
}

// server is a Caddy under test.
type server struct {
	t      testing.TB
	addr   string // of its HTTP server, for configs made by site or routes
	url    string // "http://" and addr
	admin  string // address of its admin endpoint
	store  string // folder of its storage
	logTo  string // Caddy's log writer that ends in logs
	logs   *logbook
	number int64        // no other server's
	client *http.Client // keeps connections alive and follows no redirects
}

// running is the server whose config is loaded in this process.
var running atomic.Pointer[server]

// newServer chooses the addresses of a server that no config is loaded into yet: use it
// with load where a test needs to know the addresses to write the config.
func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, addr: freeAddr(t), admin: freeAddr(t), store: t.TempDir(), logTo: "harness", logs: new(logbook), number: servers.Add(1)}
	s.url = "http://" + s.addr
	s.client = newClient(t)
	if !running.CompareAndSwap(nil, s) {
		t.Fatal("another Caddy runs in this process: one at a time, or startChild")
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		running.Store(nil)
	})
	return s
}

// run loads a site's directives, such as "proxyos 127.0.0.2:8006", and serves them at the
// server's url.
func run(t testing.TB, directives string) *server {
	t.Helper()
	s := newServer(t)
	s.mustLoad(s.site(directives))
	return s
}

// runJSON loads one handler, such as {"handler": "proxyos", …}, and serves it at the
// server's url.
func runJSON(t testing.TB, handler string) *server {
	t.Helper()
	s := newServer(t)
	if err := s.loadJSON(s.routes(handler)); err != nil {
		t.Fatalf("loading %s: %v", handler, err)
	}
	return s
}

// bothWays runs a test twice: with a config written as directives of a Caddyfile, and with
// the same config written as the JSON of one handler. Both must adapt to the same JSON.
func bothWays(t *testing.T, directives, handler string, test func(*testing.T, *server)) {
	t.Helper()
	t.Run("Caddyfile", func(t *testing.T) {
		s := newServer(t)
		if got, want := handlerOf(t, adapt(t, s.site(directives))), canonical(t, handler); got != want {
			t.Errorf("the Caddyfile adapts to\n%s\nthe JSON says\n%s", got, want)
		}
		s.mustLoad(s.site(directives))
		test(t, s)
	})
	t.Run("JSON", func(t *testing.T) { test(t, runJSON(t, handler)) })
}

// site wraps directives in a site at the server's address.
func (s *server) site(directives string) string {
	return fmt.Sprintf("%s {\nbind 127.0.0.1\n%s\n}\n", s.url, strings.TrimSpace(directives))
}

// routes wraps the JSON of handlers in a config that serves them at the server's address.
func (s *server) routes(handlers ...string) string {
	return fmt.Sprintf(`{"apps": {"http": {"servers": {"test": {
		"listen": [%q], "automatic_https": {"disable": true}, "routes": [{"handle": [%s]}]}}}}}`,
		s.addr, strings.Join(handlers, ","))
}

// mustLoad loads a Caddyfile.
func (s *server) mustLoad(text string) {
	s.t.Helper()
	if err := s.load(text); err != nil {
		s.t.Fatalf("loading\n%s\n%v", text, err)
	}
}

// load adapts a Caddyfile and loads it, in place of what was loaded before.
func (s *server) load(text string) error {
	config, err := adaptCaddyfile(text)
	if err != nil {
		return err
	}
	return s.loadJSON(string(config))
}

// loadJSON loads a whole config. What it does not say is set as suits a test: logs go to
// s.logs, storage and the admin endpoint are the server's own, and nothing is added to the
// system's trust store.
func (s *server) loadJSON(config string) error {
	prepared, err := s.prepare(config)
	if err != nil {
		return err
	}
	err = caddy.Load(prepared, true)
	s.settle()
	return err
}

// settle waits until the config before has given up its socket. On Linux, Caddy gives each
// config a socket of its own, and closes the old one in the background: what connects
// meanwhile may reach the old config, or be cut off.
func (s *server) settle() {
	s.t.Helper()
	port, err := strconv.Atoi(portOf(s.t, s.addr))
	if err != nil {
		s.t.Fatal(err)
	}
	const listening, loopback = "0A", "0100007F" // 127.0.0.1: backends may have the port on other addresses
	eventually(s.t, "one config alone listens on "+s.addr, func() bool {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			return true // not Linux
		}
		sockets := 0
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line) // number, local address, remote address, state, …
			if len(fields) > 3 && fields[3] == listening && fields[1] == fmt.Sprintf("%s:%04X", loopback, port) {
				sockets++
			}
		}
		return sockets <= 1
	})
	s.client.CloseIdleConnections()
}

func (s *server) prepare(config string) ([]byte, error) {
	var c map[string]any
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return nil, err
	}
	setDefault(c, s.admin, "admin", "listen")
	setDefault(c, false, "admin", "config", "persist")
	setDefault(c, "file_system", "storage", "module")
	setDefault(c, s.store, "storage", "root")
	setDefault(c, s.logTo, "logging", "logs", "default", "writer", "output")
	setDefault(c, "json", "logging", "logs", "default", "encoder", "format")
	setDefault(c, "DEBUG", "logging", "logs", "default", "level")
	setDefault(c, false, "apps", "pki", "certificate_authorities", "local", "install_trust")
	return json.Marshal(c)
}

// setDefault sets a value deep in a JSON object, unless there is one.
func setDefault(object map[string]any, value any, path ...string) {
	for _, name := range path[:len(path)-1] {
		inner, ok := object[name].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			object[name] = inner
		}
		object = inner
	}
	if name := path[len(path)-1]; object[name] == nil {
		object[name] = value
	}
}

// adapt returns the JSON of a Caddyfile.
func adapt(t testing.TB, text string) string {
	t.Helper()
	config, err := adaptCaddyfile(text)
	if err != nil {
		t.Fatalf("adapting\n%s\n%v", text, err)
	}
	return string(config)
}

func adaptCaddyfile(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// handlerOf returns the first proxyos handler of a config, in canonical form.
func handlerOf(t testing.TB, config string) string {
	t.Helper()
	var c any
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		t.Fatal(err)
	}
	var find func(any) any
	find = func(value any) any {
		switch value := value.(type) {
		case map[string]any:
			if value["handler"] == "proxyos" {
				return value
			}
			for _, inner := range value {
				if found := find(inner); found != nil {
					return found
				}
			}
		case []any:
			for _, inner := range value {
				if found := find(inner); found != nil {
					return found
				}
			}
		}
		return nil
	}
	encoded, err := json.Marshal(find(c))
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// canonical returns JSON with its fields in order and without white space.
func canonical(t testing.TB, text string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// get requests a path and returns the status and the body.
func (s *server) get(path string) (status int, body string) {
	s.t.Helper()
	res, err := s.client.Get(s.url + path)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(content)
}

// wants requests / and fails the test unless the answer is as given.
func (s *server) wants(status int, body string) {
	s.t.Helper()
	if gotStatus, gotBody := s.get("/"); gotStatus != status || gotBody != body {
		s.t.Errorf("got %d %q, want %d %q", gotStatus, gotBody, status, body)
	}
}

// newClient returns a client that follows no redirects and checks no certificates.
func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: 100,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// freeAddr returns an address of 127.0.0.1 on which nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := listener.Addr().String()
		listener.Close()
		if _, taken := givenAddrs.LoadOrStore(addr, true); !taken {
			return addr
		}
	}
}

// givenAddrs are the addresses that freeAddr has given out. Caddy's listeners share ports,
// so that nobody would notice if two of them got the same.
var givenAddrs sync.Map

// eventually waits for a condition, and fails the test if it does not come about.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// logbook holds what a Caddy has logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns everything logged so far.
func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// forget empties the logbook.
func (l *logbook) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// logEntry is one line of the log.
type logEntry map[string]any

// entries returns the log entries whose message contains part.
func (l *logbook) entries(part string) []logEntry {
	var found []logEntry
	for line := range strings.Lines(l.String()) {
		var entry logEntry
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue // not JSON: what a child prints before its log is set up
		}
		if message, _ := entry["msg"].(string); strings.Contains(message, part) {
			found = append(found, entry)
		}
	}
	return found
}

// servers counts the servers. Their addresses in memory would not do to tell their logs
// apart, since the next server may get the address of one whose log is still open.
var servers atomic.Int64

// logWriter is the Caddy log writer "harness": it writes to the logbook of the server that
// runs when the log is opened.
type logWriter struct{}

func (logWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.harness",
		New: func() caddy.Module { return new(logWriter) },
	}
}

func (logWriter) String() string { return "harness" }
func (logWriter) WriterKey() string {
	if s := running.Load(); s != nil {
		return fmt.Sprintf("harness:%d", s.number)
	}
	return "harness"
}

func (logWriter) OpenWriter() (io.WriteCloser, error) {
	if s := running.Load(); s != nil {
		return nopCloser{s.logs}, nil
	}
	return nopCloser{io.Discard}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func init() { caddy.RegisterModule(logWriter{}) }
