package steering

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// steer runs `caddy proxyos …` against the child and returns its exit code and output.
func steer(c *child, args ...string) (code int, stdout, stderr string) {
	c.T.Helper()
	return steerAt(c, c.Admin, args...)
}

// steerAt is steer against another admin API.
func steerAt(c *child, admin string, args ...string) (code int, stdout, stderr string) {
	c.T.Helper()
	command := c.CLI(append([]string{"proxyos"}, append(args, "--address", admin)...)...)
	var out, diagnostics bytes.Buffer
	command.Stdout, command.Stderr = &out, &diagnostics
	err := command.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		c.T.Fatal(err)
	}
	for line := range strings.Lines(out.String() + diagnostics.String()) {
		if width := len([]rune(strings.TrimSuffix(line, "\n"))); width > 80 {
			c.T.Errorf("%v prints a line of %d columns: %s", args, width, line)
		}
	}
	return code, out.String(), diagnostics.String()
}

// wantsSteer also finds what is broken into lines.
func wantsSteer(c *child, code int, output string, args ...string) {
	c.T.Helper()
	got, stdout, stderr := steer(c, args...)
	flat := strings.Join(strings.Fields(stderr), " ")
	if got != code || !strings.Contains(stdout+stderr, output) && !strings.Contains(flat, output) {
		c.T.Errorf("caddy proxyos %s exits with %d, want %d with %q:\n%s%s", strings.Join(args, " "), got, code, output, stdout, stderr)
	}
}

func TestTheSteeringCommands(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, c.BlueGreen(prod, stag, "traffic_split 10")+"http://"+freeAddr(t)+" {\nproxyos "+prod.Addr+" {\nname single\n}\n}\n"))
	c.Start()

	wantsSteer(c, 0, "app     10 %", "list")
	wantsSteer(c, 0, "app: 10 % to staging (configured: 10 %)", "show", "app")
	wantsSteer(c, 0, stag.Addr, "show", "app")
	wantsSteer(c, 0, "app: 25 % to staging (configured: 10 %)", "split", "app", "25")
	wantsSteer(c, 0, "app: 12.5 % to staging", "split", "app", "12.5%")
	wantsSteer(c, 0, "app: 100 % to staging", "promote", "app")
	c.Wants(http.StatusOK, "staging")
	wantsSteer(c, 0, "app: 0 % to staging", "rollback", "app")
	c.Wants(http.StatusOK, "production")
	if r := c.Route(); !strings.Contains(r.Override.SetBy, "@") {
		t.Errorf("a change by command is shown as made by %q", r.Override.SetBy)
	}
	wantsSteer(c, 0, "app: 10 % to staging (configured: 10 %)", "reset", "app")

	if code, stdout, _ := steer(c, "show", "app", "--json"); code != 0 || lab.Decode[route](t, stdout).Name != "app" {
		t.Errorf("show --json exits with %d:\n%s", code, stdout)
	}
	if code, stdout, _ := steer(c, "list", "--json"); code != 0 || len(lab.Decode[[]route](t, stdout)) != 2 {
		t.Errorf("list --json exits with %d:\n%s", code, stdout)
	}

	wantsSteer(c, 1, "there is no proxyos route named", "show", "nobody")
	wantsSteer(c, 1, "no staging group", "split", "single", "10")
	wantsSteer(c, 2, "is not a percentage", "split", "app", "half")
	wantsSteer(c, 2, "is outside 0 to 100", "split", "app", "101")
	wantsSteer(c, 2, "split: <percent> is missing", "split", "app")
	wantsSteer(c, 2, "is negative", "promote", "app", "--drain", "-1s")
	if r := c.Route(); r.TrafficSplit != 10 {
		t.Errorf("a command that failed has made the split %v %%", r.TrafficSplit)
	}
	c.Kill()
	wantsSteer(c, 1, "is Caddy running? `--address` or `--config` says where", "list")
}

func TestPromoteWaitsUntilProductionIsDrained(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, c.BlueGreen(prod, stag, "traffic_split 0")))
	c.Start()
	release, held := holdRequest(c, prod)

	wantsSteer(c, 4, "still has 1 request in flight", "promote", "app", "--drain", "300ms")
	c.Wants(http.StatusOK, "staging") // the split stays
	wantsSteer(c, 0, "1 in flight", "promote", "app", "--drain", "0")
	wantsSteer(c, 0, "staging: ", "rollback", "app") // staging has nothing in flight

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
		wantsSteer(c, 0, "app: 100 % to staging", "promote", "app", "--drain", "20s")
	}()
	eventually(t, "the split is promoted", func() bool { return c.Route().TrafficSplit == 100 })
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
func holdRequest(c *child, prod *backend) (release func(), held <-chan struct{}) {
	c.T.Helper()
	hold, answered := make(chan struct{}), make(chan struct{})
	prod.Answer(func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		_, _ = io.WriteString(w, "production")
	})
	go func() {
		defer close(answered)
		c.Wants(http.StatusOK, "production")
	}()
	eventually(c.T, "the request is in flight", func() bool { return c.Route().Groups[production].InFlight == 1 })
	return func() { close(hold) }, answered
}
