package steering

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// A release must not go to a staging that nobody has started.
func TestPromoteToADeadStagingIsRefused(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), freeAddr(t)
	c := newChild(t)
	c.Write(adapt(t, quiet+c.Site(blueGreenDirective(prod.Addr, stag))))
	c.Start()
	for _, command := range []string{"promote app", "split app 10"} { // nothing is known of it yet
		wantsSteer(c, 1, stag+" refuses connections; write --force to do it all the same", strings.Fields(command)...)
	}
	if status, answer := c.Ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 10}`); status != http.StatusConflict ||
		!strings.Contains(lab.Decode[map[string]string](t, answer)["error"], `send "force": true`) {
		t.Errorf("the admin API answers %d %s", status, answer)
	}
	if status, answer := c.Ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 10, "force": true}`); status != http.StatusOK {
		t.Errorf("with force, the admin API answers %d %s", status, answer)
	}
	c.Tally(10) // one of them fails there, and is taken over
	wantsSteer(c, 1, stag+" is down for another ", "promote", "app")
	wantsSteer(c, 1, " s; write --force", "promote", "app")
	wantsSteer(c, 0, "app: 5 % to staging", "split", "app", "5")
	wantsSteer(c, 0, "app: 0 % to staging", "rollback", "app")
	wantsSteer(c, 0, "app: 100 % to staging", "promote", "app", "--force", "--drain", "0")
	if got := len(c.Logs.Entries("the traffic split was not changed")); got != 0 {
		t.Errorf("a refusal is logged as an error %d times", got)
	}
}

func TestRollbackToADeadProductionIsRefused(t *testing.T) {
	t.Parallel()
	prod, stag := freeAddr(t), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, quiet+c.Site(blueGreenDirective(prod, stag.Addr, "traffic_split 100"))))
	c.Start()
	wantsSteer(c, 1, "since production cannot serve requests: "+prod+" refuses connections", "rollback", "app")
	c.Wants(http.StatusOK, "staging")
	wantsSteer(c, 0, "app: 0 % to staging", "rollback", "app", "--force")
	wantsSteer(c, 0, "app: 100 % to staging", "promote", "app")
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
		s.Split(100)
		s.Split(0)
	}
	s.MustLoad(quiet + s.Site(fmt.Sprintf("proxyos %s {\nname app\nstaging unix/%s\n}", prod.Addr, proxytest.SocketPath(t))))
	if status, answer := s.Ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 1}`); status != http.StatusConflict || !strings.Contains(answer, "refuses connections") {
		t.Errorf("a socket that is not there: %d %s", status, answer)
	}
}

// Elsewhere than in a terminal, promote says every 5 seconds what it waits for.
func TestPromoteSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, c.BlueGreen(prod, stag)))
	c.Start()
	release, held := holdRequest(c, prod)
	code, stdout, stderr := steer(c, "promote", "app", "--drain", "700ms", "--json")
	if want := "app: waiting for 1 request in flight in production, 1s left\nError: "; code != 4 || !strings.HasPrefix(stderr, want) {
		t.Errorf("promote exits with %d and says\n%s", code, stderr)
	}
	if lab.Decode[route](t, stdout).TrafficSplit != 100 {
		t.Errorf("its output is %s", stdout)
	}
	release()
	<-held
}
