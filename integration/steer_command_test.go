package integration

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// steer runs `caddy proxyos …` against the child and returns its exit code and output.
func (c *child) steer(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	command := c.cli(append([]string{"proxyos"}, append(args, "--address", c.Admin)...)...)
	var out, diagnostics bytes.Buffer
	command.Stdout, command.Stderr = &out, &diagnostics
	err := command.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(out.String() + diagnostics.String()) {
		if width := len([]rune(strings.TrimSuffix(line, "\n"))); width > 80 {
			c.t.Errorf("%v prints a line of %d columns: %s", args, width, line)
		}
	}
	return code, out.String(), diagnostics.String()
}

// exitCode returns the exit code of a command that failed, or -1 if it did not run.
func exitCode(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// wantsSteer also finds what is broken into lines.
func (c *child) wantsSteer(code int, output string, args ...string) {
	c.t.Helper()
	got, stdout, stderr := c.steer(args...)
	flat := strings.Join(strings.Fields(stderr), " ")
	if got != code || !strings.Contains(stdout+stderr, output) && !strings.Contains(flat, output) {
		c.t.Errorf("caddy proxyos %s exits with %d, want %d with %q:\n%s%s", strings.Join(args, " "), got, code, output, stdout, stderr)
	}
}

func TestTheSteeringCommands(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.write(adapt(t, c.blueGreen(prod, stag, "traffic_split 10")+"http://"+freeAddr(t)+" {\nproxyos "+prod.Addr+" {\nname single\n}\n}\n"))
	c.start()

	c.wantsSteer(0, "app     10 %", "list")
	c.wantsSteer(0, "app: 10 % to staging (configured: 10 %)", "show", "app")
	c.wantsSteer(0, stag.Addr, "show", "app")
	c.wantsSteer(0, "app: 25 % to staging (configured: 10 %)", "split", "app", "25")
	c.wantsSteer(0, "app: 12.5 % to staging", "split", "app", "12.5%")
	c.wantsSteer(0, "app: 100 % to staging", "promote", "app")
	c.Wants(http.StatusOK, "staging")
	c.wantsSteer(0, "app: 0 % to staging", "rollback", "app")
	c.Wants(http.StatusOK, "production")
	if r := c.route(); !strings.Contains(r.Override.SetBy, "@") {
		t.Errorf("a change by command is shown as made by %q", r.Override.SetBy)
	}
	c.wantsSteer(0, "app: 10 % to staging (configured: 10 %)", "reset", "app")

	if code, stdout, _ := c.steer("show", "app", "--json"); code != 0 || decode[route](t, stdout).Name != "app" {
		t.Errorf("show --json exits with %d:\n%s", code, stdout)
	}
	if code, stdout, _ := c.steer("list", "--json"); code != 0 || len(decode[[]route](t, stdout)) != 2 {
		t.Errorf("list --json exits with %d:\n%s", code, stdout)
	}

	c.wantsSteer(1, "there is no proxyos route named", "show", "nobody")
	c.wantsSteer(1, "no staging group", "split", "single", "10")
	c.wantsSteer(2, "is not a percentage", "split", "app", "half")
	c.wantsSteer(2, "is outside 0 to 100", "split", "app", "101")
	c.wantsSteer(2, "split: <percent> is missing", "split", "app")
	c.wantsSteer(2, "is negative", "promote", "app", "--drain", "-1s")
	if r := c.route(); r.TrafficSplit != 10 {
		t.Errorf("a command that failed has made the split %v %%", r.TrafficSplit)
	}
	c.kill()
	c.wantsSteer(1, "is Caddy running? `--address` or `--config` says where", "list")
}

func TestPromoteWaitsUntilProductionIsDrained(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.write(adapt(t, c.blueGreen(prod, stag, "traffic_split 0")))
	c.start()
	release, held := c.holdRequest(prod)

	c.wantsSteer(4, "still has 1 request in flight", "promote", "app", "--drain", "300ms")
	c.Wants(http.StatusOK, "staging") // the split stays
	c.wantsSteer(0, "1 in flight", "promote", "app", "--drain", "0")
	c.wantsSteer(0, "staging: ", "rollback", "app") // staging has nothing in flight

	asked := func() (n int) {
		for _, entry := range c.Logs.Entries("received request") {
			if entry["uri"] == "/proxyos/routes/app" {
				n++
			}
		}
		return n
	}
	promoted := make(chan struct{})
	go func() {
		defer close(promoted)
		c.wantsSteer(0, "app: 100 % to staging", "promote", "app", "--drain", "20s")
	}()
	eventually(t, "the split is promoted", func() bool { return c.route().TrafficSplit == 100 })
	before := asked()
	eventually(t, "promote asks again and again whether production is drained", func() bool { return asked() >= before+3 })
	select {
	case <-promoted:
		t.Error("promote has ended, and the request has not")
	default:
	}
	release()
	<-promoted
	<-held
}

// holdRequest sends a request that production answers only once it is released. held is closed
// when the client has the answer.
func (c *child) holdRequest(prod *backend) (release func(), held <-chan struct{}) {
	c.t.Helper()
	hold, answered := make(chan struct{}), make(chan struct{})
	prod.Answer(func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		_, _ = io.WriteString(w, "production")
	})
	go func() {
		defer close(answered)
		c.Wants(http.StatusOK, "production")
	}()
	eventually(c.t, "the request is in flight", func() bool { return c.route().Groups[production].InFlight == 1 })
	return func() { close(hold) }, answered
}
