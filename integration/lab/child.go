package lab

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// asCaddy is the environment variable that makes the test binary of a package a caddy command.
const asCaddy = "PROXYOS_TEST_AS_CADDY"

// Main runs the tests of a package. What they start of the test binary itself is a caddy command with
// everything that the package registers, so that none has to be built. A package that starts
// children calls it in its TestMain. Most of their time such tests wait, so that more of those that
// are parallel run at once than there are processors. What is run is a *testing.M, or one with something around it.
func Main(m interface{ Run() int }) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Setenv(asCaddy, "1")
	flag.Parse()
	if !wasSet("test.parallel") {
		flag.Set("test.parallel", "4")
	}
	os.Exit(m.Run())
}

// wasSet tells whether the command line says something about a flag.
func wasSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// CaddyCommand returns the path of a caddy command, in a package that calls Main.
func CaddyCommand(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Child is a Caddy in a process of its own. Its logs are in its server's logbook, its
// home and data in folders of its own, unless it is given the store of another.
type Child struct {
	*Server
	Home    string
	Binary  string // the caddy command; by default, the test binary
	config  string // file
	command *exec.Cmd
	done    chan struct{} // closed when the process has ended
}

// NewChild returns a child that is not started yet; set its store, to share the storage of
// another, and its config before Start.
func NewChild(t testing.TB) *Child {
	t.Helper()
	s := &Server{proxytest.NewCaddyOutside(t), t}
	c := &Child{Server: s, Home: t.TempDir(), Binary: CaddyCommand(t)}
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

// RunApart is Run in a process of its own, so that the test can be parallel.
func RunApart(t testing.TB, directives string) *Server {
	t.Helper()
	s := NewApart(t)
	s.MustLoad(s.Site(directives))
	return s
}

// NewApart is NewServer in a process of its own, which runs. The test can be parallel.
func NewApart(t testing.TB) *Server {
	t.Helper()
	c := NewChild(t)
	c.Write("{}")
	c.Start()
	return c.Server
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

// PID returns the number of the process.
func (c *Child) PID() int { return c.command.Process.Pid }

// CLI returns a caddy command in the child's environment, such as CLI("validate", …). Its
// admin endpoint is the child's address c.Admin, for commands that take --address.
func (c *Child) CLI(args ...string) *exec.Cmd {
	c.T.Helper()
	command := exec.Command(c.Binary, args...)
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
