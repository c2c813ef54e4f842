package steering

import (
	"bufio"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A single upstream is never marked as down, so only its answers show that it is dead.
func TestListShowsARouteThatFails(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	c := startChild(t, "proxyos "+addr+" {\nname shop\n}")
	wantsSteer(c, 0, "1 of 1  ", "list")
	for range 12 {
		if status, _ := c.Get("/"); status != http.StatusBadGateway {
			t.Fatalf("a dead upstream answers %d", status)
		}
	}
	eventually(t, "all requests are counted", func() bool { return c.Named("shop").Groups[production].Errors == 12 })
	wantsSteer(c, 0, "shop: production 1 of 1, failing: 12 of the last 12", "list")
	wantsSteer(c, 0, "1 of 1, failing  ", "list")
	wantsSteer(c, 0, "up, failing", "show", "shop")
}

// An upstream that failed and has not answered since is not up.
func TestAnUpstreamOnTrialIsNotUp(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), freeAddr(t)
	c := startChild(t, blueGreenDirective(prod.Addr, stag, "traffic_split 50", "fail_duration 300ms"))
	c.Tally(4)
	eventually(t, "staging is on trial", func() bool { return c.Route().Groups[staging].Upstreams[0].Health == "on trial" })
	wantsSteer(c, 0, "0 of 1, on trial", "list")
}

func TestWatchPrintsAgainUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := startChild(t, blueGreenDirective(prod.Addr, stag.Addr))
	for _, command := range []string{"list", "show app"} {
		watch := c.CLI(append([]string{"proxyos"}, append(strings.Fields(command), "--watch", "--address", c.Admin)...)...)
		out, err := watch.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		watch.Stderr = os.Stderr
		if err := watch.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for printed := 0; printed < 3 && lines.Scan(); {
			if strings.Contains(lines.Text(), "\x1b") {
				t.Errorf("%s --watch prints %q, and there is no terminal", command, lines.Text())
			}
			if strings.HasPrefix(lines.Text(), "app") {
				printed++
			}
		}
		if err := watch.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(20*time.Second, func() { _ = watch.Process.Kill() })
		for lines.Scan() {
		}
		if err := watch.Wait(); err != nil {
			t.Errorf("interrupted, %s --watch ends with %v", command, err)
		}
		timer.Stop()
	}
	wantsSteer(c, 1, "there is no proxyos route named", "show", "nobody", "--watch")
}
