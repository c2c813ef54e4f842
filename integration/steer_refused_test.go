package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// A release must not go to a staging that nobody has started.
func TestPromoteToADeadStagingIsRefused(t *testing.T) {
	prod, stag := plain(t, "production", ""), freeAddr(t)
	c := newChild(t)
	c.write(adapt(t, quiet+c.Site(blueGreenDirective(prod.Addr, stag))))
	c.start()
	for _, command := range []string{"promote app", "split app 10"} { // nothing is known of it yet
		c.wantsSteer(1, stag+" refuses connections; write --force to do it all the same", strings.Fields(command)...)
	}
	if status, answer := c.ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 10}`); status != http.StatusConflict ||
		!strings.Contains(decode[map[string]string](t, answer)["error"], `send "force": true`) {
		t.Errorf("the admin API answers %d %s", status, answer)
	}
	if status, answer := c.ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 10, "force": true}`); status != http.StatusOK {
		t.Errorf("with force, the admin API answers %d %s", status, answer)
	}
	c.tally(10) // one of them fails there, and is taken over
	c.wantsSteer(1, stag+" is down for another ", "promote", "app")
	c.wantsSteer(1, " s; write --force", "promote", "app")
	c.wantsSteer(0, "app: 5 % to staging", "split", "app", "5")
	c.wantsSteer(0, "app: 0 % to staging", "rollback", "app")
	c.wantsSteer(0, "app: 100 % to staging", "promote", "app", "--force", "--drain", "0")
	if got := len(c.Logs.Entries("the traffic split was not changed")); got != 0 {
		t.Errorf("a refusal is logged as an error %d times", got)
	}
}

func TestRollbackToADeadProductionIsRefused(t *testing.T) {
	prod, stag := freeAddr(t), plain(t, "staging", "")
	c := newChild(t)
	c.write(adapt(t, quiet+c.Site(blueGreenDirective(prod, stag.Addr, "traffic_split 100"))))
	c.start()
	c.wantsSteer(1, "since production cannot serve requests: "+prod+" refuses connections", "rollback", "app")
	c.Wants(http.StatusOK, "staging")
	c.wantsSteer(0, "app: 0 % to staging", "rollback", "app", "--force")
	c.wantsSteer(0, "app: 100 % to staging", "promote", "app")
}

// An upstream behind a Unix socket, one behind a placeholder and a dynamic one are not taken for
// dead.
func TestWhatMayServeIsNotRefused(t *testing.T) {
	socket := unixSocket(t, "staging")
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	t.Setenv("PROXYOS_TEST_STAGING", stag.Addr)
	s := newServer(t)
	for _, group := range []string{
		"unix/" + socket.Addr, "{env.PROXYOS_TEST_STAGING}", "{http.request.header.X-To}",
		"{\n\tdynamic a 127.0.0.1 1\n}",
	} {
		s.MustLoad(quiet + s.Site(fmt.Sprintf("proxyos %s {\nname app\nstaging %s\n}", prod.Addr, group)))
		s.split(100)
		s.split(0)
	}
	s.MustLoad(quiet + s.Site(fmt.Sprintf("proxyos %s {\nname app\nstaging unix/%s\n}", prod.Addr, proxytest.SocketPath(t))))
	if status, answer := s.ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 1}`); status != http.StatusConflict || !strings.Contains(answer, "refuses connections") {
		t.Errorf("a socket that is not there: %d %s", status, answer)
	}
}

// Elsewhere than in a terminal, promote says every 5 seconds what it waits for.
func TestPromoteSaysWhatItWaitsFor(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.write(adapt(t, c.blueGreen(prod, stag)))
	c.start()
	release, held := c.holdRequest(prod)
	code, stdout, stderr := c.steer("promote", "app", "--drain", "700ms", "--json")
	if want := "app: waiting for 1 request in flight in production, 1s left\nError: "; code != 4 || !strings.HasPrefix(stderr, want) {
		t.Errorf("promote exits with %d and says\n%s", code, stderr)
	}
	if decode[route](t, stdout).TrafficSplit != 100 {
		t.Errorf("its output is %s", stdout)
	}
	release()
	<-held
}
