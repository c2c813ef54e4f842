package proxytest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// Caddy is a Caddy under test: in this process, or in one of its own. Its addresses are
// chosen before any config is loaded, so that a config can name them.
type Caddy struct {
	Addr   string // of its HTTP server, for configs made by Site or Routes
	URL    string // "http://" and Addr
	Admin  string // address of its admin endpoint
	Store  string // folder of its storage
	Logs   *Logbook
	Client *http.Client // keeps connections alive and follows no redirects

	t        testing.TB
	logTo    string // Caddy's log writer that ends in Logs
	logLevel string
	outside  bool
	number   int64 // no other Caddy's
}

// running is the Caddy whose config is loaded in this process.
var running atomic.Pointer[Caddy]

// caddies counts the Caddys. Their addresses in memory would not do to tell their logs
// apart, since the next may get the address of one whose log is still open.
var caddies atomic.Int64

// NewCaddy returns the Caddy of this process, which stops when the test ends. No config is
// loaded yet. The test's package must import Caddy's standard modules.
func NewCaddy(t testing.TB) *Caddy {
	t.Helper()
	c := newCaddy(t, "proxytest")
	if !running.CompareAndSwap(nil, c) {
		t.Fatal("another Caddy runs in this process: there can be one at a time")
	}
	t.Cleanup(func() {
		c.Client.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		running.Store(nil)
	})
	return c
}

// NewCaddyOutside returns what belongs to a Caddy that runs in a process of its own, with a
// config made by Prepare. The process's standard error belongs into Logs.
func NewCaddyOutside(t testing.TB) *Caddy {
	t.Helper()
	c := newCaddy(t, "stderr")
	c.outside = true
	return c
}

func newCaddy(t testing.TB, logTo string) *Caddy {
	t.Helper()
	addr := FreeAddr(t)
	return &Caddy{
		Addr: addr, URL: "http://" + addr, Admin: FreeAddr(t), Store: t.TempDir(),
		Logs: new(Logbook), Client: NewClient(t),
		t: t, logTo: logTo, logLevel: "DEBUG", number: caddies.Add(1),
	}
}

// dialAgain dials, and again where the system has reset a connection that was waiting to be
// accepted: a server that is replaced by another, as Caddy's is at a reload, takes those along.
func dialAgain(ctx context.Context, network, addr string) (net.Conn, error) {
	for attempt := 1; ; attempt++ {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if !errors.Is(err, syscall.ECONNRESET) || attempt == 10 {
			return conn, err
		}
	}
}

// NewClient returns a client that follows no redirects and checks no certificates.
func NewClient(t testing.TB) *http.Client {
	transport := &http.Transport{
		DialContext:         dialAgain,
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

// Site wraps directives, such as "proxyos 127.0.0.2:8006", in a site at Addr.
func (c *Caddy) Site(directives string) string {
	return fmt.Sprintf("%s {\nbind 127.0.0.1\n%s\n}\n", c.URL, strings.TrimSpace(directives))
}

// Routes wraps the JSON of handlers, such as {"handler": "proxyos", …}, in a config that
// serves them at Addr.
func (c *Caddy) Routes(handlers ...string) string {
	return fmt.Sprintf(`{"apps": {"http": {"servers": {"test": {
		"listen": [%q], "automatic_https": {"disable": true}, "routes": [{"handle": [%s]}]}}}}}`,
		c.Addr, strings.Join(handlers, ","))
}

// MustLoad is Load that fails the test if Caddy does not take the config.
func (c *Caddy) MustLoad(text string) {
	c.t.Helper()
	if err := c.Load(text); err != nil {
		c.t.Fatalf("loading\n%s\n%v", text, err)
	}
}

// Load adapts a Caddyfile and loads it, in place of what was loaded before.
func (c *Caddy) Load(text string) error {
	config, err := AdaptCaddyfile(text)
	if err != nil {
		return err
	}
	return c.LoadJSON(string(config))
}

// LoadJSON loads a whole config. What it does not say is set as suits a test: see Prepare.
func (c *Caddy) LoadJSON(config string) error {
	prepared, err := c.Prepare(config)
	if err != nil {
		return err
	}
	if c.outside {
		err = c.post(prepared)
	} else {
		err = caddy.Load(prepared, true)
	}
	c.settle()
	return err
}

// post has the process of a Caddy outside take a config.
func (c *Caddy) post(config []byte) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+c.Admin+"/load", bytes.NewReader(config))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cache-Control", "must-revalidate") // also if nothing has changed
	res, err := c.Client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", res.StatusCode, text)
	}
	return err
}

// settle waits until the config before has given up its socket. On Linux, Caddy gives each
// config a socket of its own, and closes the old one in the background: what connects
// meanwhile may reach the old config, or be cut off.
func (c *Caddy) settle() {
	c.t.Helper()
	port, err := strconv.Atoi(PortOf(c.t, c.Addr))
	if err != nil {
		c.t.Fatal(err)
	}
	Eventually(c.t, "only one config listens on "+c.Addr, func() bool {
		// backends may have the port on other addresses
		return listeners("/proc/net/tcp", "0100007F", port)+listeners("/proc/net/tcp", "00000000", port)+
			listeners("/proc/net/tcp6", strings.Repeat("0", 32), port) <= 1
	})
	c.Client.CloseIdleConnections()
}

// listeners counts the sockets that listen at an address, as one of Linux's tables has it; none elsewhere.
func listeners(table, address string, port int) (n int) {
	const listening = "0A"
	file, err := os.Open(table)
	if err != nil {
		return 0
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // number, local address, remote address, state, …
		if len(fields) < 4 || fields[3] != listening {
			break // those that listen come first, before thousands that do not
		}
		if fields[1] == fmt.Sprintf("%s:%04X", address, port) {
			n++
		}
	}
	return n
}

// Prepare completes a config as suits a test, where it does not say otherwise: logs go to
// Logs, storage and the admin endpoint are this Caddy's own, and nothing is added to the
// system's trust store. The environment variable PROXYOS_FAST_PATH=off turns the fast ways of proxyos off.
func (c *Caddy) Prepare(config string) ([]byte, error) {
	var object map[string]any
	if err := json.Unmarshal([]byte(config), &object); err != nil {
		return nil, err
	}
	setDefault(object, c.Admin, "admin", "listen")
	setDefault(object, false, "admin", "config", "persist")
	setDefault(object, "file_system", "storage", "module")
	setDefault(object, c.Store, "storage", "root")
	setDefault(object, c.logTo, "logging", "logs", "default", "writer", "output")
	setDefault(object, "json", "logging", "logs", "default", "encoder", "format")
	setDefault(object, c.logLevel, "logging", "logs", "default", "level")
	setDefault(object, false, "apps", "pki", "certificate_authorities", "local", "install_trust")
	if os.Getenv("PROXYOS_FAST_PATH") == "off" && strings.Contains(config, `"proxyos"`) {
		setDefault(object, false, "apps", "proxyos", "fast_path")
	}
	return json.Marshal(object)
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

// AdaptCaddyfile returns the JSON of a Caddyfile.
func AdaptCaddyfile(text string) ([]byte, error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, errors.New("there is no adapter for Caddyfiles: import github.com/caddyserver/caddy/v2/modules/standard in the test")
	}
	config, _, err := adapter.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// Get requests a path and returns the status and the body.
func (c *Caddy) Get(path string) (status int, body string) {
	c.t.Helper()
	res, err := c.Client.Get(c.URL + path)
	if err != nil {
		c.t.Fatalf("GET %s: %v", path, err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(content)
}

// Wants requests / and fails the test unless the answer is as given.
func (c *Caddy) Wants(status int, body string) {
	c.t.Helper()
	if gotStatus, gotBody := c.Get("/"); gotStatus != status || gotBody != body {
		c.t.Errorf("got %d %q, want %d %q", gotStatus, gotBody, status, body)
	}
}
