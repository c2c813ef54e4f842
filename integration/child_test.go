package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// childBuild is the caddy command, built once for all tests that need it.
var childBuild struct {
	once sync.Once
	dir  string
	err  error
}

// caddyCommand returns the path of the caddy command of ./cmd/caddy.
func caddyCommand(t testing.TB) string {
	t.Helper()
	childBuild.once.Do(func() {
		if childBuild.dir, childBuild.err = os.MkdirTemp("", "caddy"); childBuild.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", childBuild.dir, "../cmd/caddy")
		if output, err := build.CombinedOutput(); err != nil {
			childBuild.err = fmt.Errorf("building caddy: %w\n%s", err, output)
		}
	})
	if childBuild.err != nil {
		t.Fatal(childBuild.err)
	}
	return filepath.Join(childBuild.dir, "caddy")
}

// child is a Caddy in a process of its own. Its logs are in its server's logbook, its
// home and data in folders of its own, unless it is given the store of another.
type child struct {
	*server
	home    string
	config  string // file
	command *exec.Cmd
	done    chan struct{} // closed when the process has ended
}

// newChild returns a child that is not started yet; set its store, to share the storage of
// another, and its config before start.
func newChild(t testing.TB) *child {
	t.Helper()
	s := &server{proxytest.NewCaddyOutside(t), t}
	c := &child{server: s, home: t.TempDir()}
	c.config = filepath.Join(c.home, "config.json")
	t.Cleanup(c.kill)
	return c
}

// startChild runs a Caddy whose site has the given directives, and waits until it serves.
func startChild(t testing.TB, directives string) *child {
	t.Helper()
	c := newChild(t)
	c.write(adapt(t, c.Site(directives)))
	c.start()
	return c
}

// write sets the config with which the child is started next.
func (c *child) write(config string) {
	c.t.Helper()
	prepared, err := c.Prepare(config)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.config, prepared, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// start runs `caddy run` with the child's config and waits until its admin endpoint
// answers.
func (c *child) start() {
	c.t.Helper()
	c.command = c.cli("run", "--config", c.config)
	c.command.Stdout, c.command.Stderr = c.Logs, c.Logs
	if err := c.command.Start(); err != nil {
		c.t.Fatal(err)
	}
	done, command := make(chan struct{}), c.command
	c.done = done
	go func() {
		command.Wait()
		close(done)
	}()
	eventually(c.t, "the child's admin endpoint answers; its log:\n"+c.Logs.String(), func() bool {
		select {
		case <-done:
			c.t.Fatalf("the child ended:\n%s", c.Logs)
		default:
		}
		res, err := c.Client.Get("http://" + c.Admin + "/config/")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return err == nil && res.StatusCode == http.StatusOK
	})
}

// cli returns a caddy command in the child's environment, such as cli("validate", …). Its
// admin endpoint is the child's address c.admin, for commands that take --address.
func (c *child) cli(args ...string) *exec.Cmd {
	c.t.Helper()
	command := exec.Command(caddyCommand(c.t), args...)
	command.Env = append(os.Environ(), "HOME="+c.home, "XDG_DATA_HOME="+c.home, "XDG_CONFIG_HOME="+c.home)
	command.Dir = c.home
	return command
}

// kill ends the child as kill -9 does, if it runs.
func (c *child) kill() { c.end(syscall.SIGKILL) }

// stop lets the child shut down in order.
func (c *child) stop() { c.end(syscall.SIGTERM) }

func (c *child) end(signal syscall.Signal) {
	c.t.Helper()
	if c.command == nil {
		return
	}
	_ = c.command.Process.Signal(signal) // it may have ended
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		c.t.Errorf("the child did not end within 20 s of %s", signal)
		_ = c.command.Process.Kill()
		<-c.done
	}
	c.command = nil
	c.Client.CloseIdleConnections()
}

func TestChildSurvivesAKill(t *testing.T) {
	app := plain(t, "app", "")
	c := startChild(t, "proxyos "+app.Addr)
	c.Wants(http.StatusOK, "app")
	c.kill()
	if _, err := c.Client.Get(c.URL); err == nil {
		t.Fatal("a killed Caddy answers")
	}
	c.start()
	c.Wants(http.StatusOK, "app")
	c.stop()
	if len(c.Logs.Entries("shutdown complete")) != 1 {
		t.Errorf("no orderly shutdown in the log:\n%s", c.Logs)
	}
}

func TestCommandListsTheModules(t *testing.T) {
	output, err := newChild(t).cli("list-modules").Output()
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
	good, bad := filepath.Join(c.home, "good.Caddyfile"), filepath.Join(c.home, "bad.Caddyfile")
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
		output, err := c.cli(step.args...).CombinedOutput()
		if (err != nil) != step.fails || !strings.Contains(string(output), step.prints) {
			t.Errorf("caddy %s: %v\n%s\nwant %s", strings.Join(step.args, " "), err, output, step.prints)
		}
	}
}
