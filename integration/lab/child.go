package lab

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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

// Main runs the tests of a package, and then removes the command that they have built. A package
// that starts children calls it in its TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if childBuild.dir != "" {
		os.RemoveAll(childBuild.dir)
	}
	os.Exit(code)
}

// caddyCommand returns the path of the caddy command of ./cmd/caddy.
func caddyCommand(t testing.TB) string {
	t.Helper()
	childBuild.once.Do(func() {
		if childBuild.dir, childBuild.err = os.MkdirTemp("", "caddy"); childBuild.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", childBuild.dir, "github.com/proxyos/caddy-proxyos/cmd/caddy")
		if output, err := build.CombinedOutput(); err != nil {
			childBuild.err = fmt.Errorf("building caddy: %w\n%s", err, output)
		}
	})
	if childBuild.err != nil {
		t.Fatal(childBuild.err)
	}
	return filepath.Join(childBuild.dir, "caddy")
}

// Child is a Caddy in a process of its own. Its logs are in its server's logbook, its
// home and data in folders of its own, unless it is given the store of another.
type Child struct {
	*Server
	Home    string
	config  string // file
	command *exec.Cmd
	done    chan struct{} // closed when the process has ended
}

// NewChild returns a child that is not started yet; set its store, to share the storage of
// another, and its config before Start.
func NewChild(t testing.TB) *Child {
	t.Helper()
	s := &Server{proxytest.NewCaddyOutside(t), t}
	c := &Child{Server: s, Home: t.TempDir()}
	c.config = filepath.Join(c.Home, "config.json")
	t.Cleanup(c.Kill)
	return c
}

// StartChild runs a Caddy whose site has the given directives, and waits until it serves.
func StartChild(t testing.TB, directives string) *Child {
	t.Helper()
	c := NewChild(t)
	c.Write(Adapt(t, c.Site(directives)))
	c.Start()
	return c
}

// Write sets the config with which the child is started next.
func (c *Child) Write(config string) {
	c.T.Helper()
	prepared, err := c.Prepare(config)
	if err != nil {
		c.T.Fatal(err)
	}
	if err := os.WriteFile(c.config, prepared, 0o600); err != nil {
		c.T.Fatal(err)
	}
}

// Start runs `caddy run` with the child's config and waits until its admin endpoint
// answers.
func (c *Child) Start() {
	c.T.Helper()
	c.command = c.CLI("run", "--config", c.config)
	c.command.Stdout, c.command.Stderr = c.Logs, c.Logs
	if err := c.command.Start(); err != nil {
		c.T.Fatal(err)
	}
	done, command := make(chan struct{}), c.command
	c.done = done
	go func() {
		command.Wait()
		close(done)
	}()
	proxytest.Eventually(c.T, "the child's admin endpoint answers; its log:\n"+c.Logs.String(), func() bool {
		select {
		case <-done:
			c.T.Fatalf("the child ended:\n%s", c.Logs)
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

// CLI returns a caddy command in the child's environment, such as CLI("validate", …). Its
// admin endpoint is the child's address c.Admin, for commands that take --address.
func (c *Child) CLI(args ...string) *exec.Cmd {
	c.T.Helper()
	command := exec.Command(caddyCommand(c.T), args...)
	command.Env = append(os.Environ(), "HOME="+c.Home, "XDG_DATA_HOME="+c.Home, "XDG_CONFIG_HOME="+c.Home)
	command.Dir = c.Home
	return command
}

// Kill ends the child as kill -9 does, if it runs.
func (c *Child) Kill() { c.end(syscall.SIGKILL) }

// Stop lets the child shut down in order.
func (c *Child) Stop() { c.end(syscall.SIGTERM) }

func (c *Child) end(signal syscall.Signal) {
	c.T.Helper()
	if c.command == nil {
		return
	}
	_ = c.command.Process.Signal(signal) // it may have ended
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		c.T.Errorf("the child did not end within 20 s of %s", signal)
		_ = c.command.Process.Kill()
		<-c.done
	}
	c.command = nil
	c.Client.CloseIdleConnections()
}

// ExitCode returns the exit code of a command that failed, or -1 if it did not run.
func ExitCode(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
