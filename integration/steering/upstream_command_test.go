package steering

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// steeredChild runs a child with a route named app that has two production upstreams.
func steeredChild(t *testing.T, prod, other, stag *backend) *child {
	t.Helper()
	c := newChild(t)
	c.Write(adapt(t, steeredConfig(c, prod, other, stag)))
	c.Start()
	return c
}

func steeredConfig(c *child, prod, other, stag *backend) string {
	return quiet + c.Site(fmt.Sprintf("proxyos %s %s {\n\tname app\n\tstaging %s\n\ttraffic_split 0\n}", prod.Addr, other.Addr, stag.Addr))
}

func TestTheCommandsForUpstreams(t *testing.T) {
	prod, other, stag := plain(t, "production", ""), plain(t, "other", ""), plain(t, "staging", "")
	c := steeredChild(t, prod, other, stag)

	wantsSteer(c, 0, "drained, up", "drain", "app", other.Addr)
	wantsSteer(c, 0, "1 of 2, 1 drained", "list")
	wantsSteer(c, 0, "app: "+other.Addr+" drained, set 20", "list") // and when, by whom
	if got := c.Tally(4); got["production"] != 4 {
		t.Errorf("with the other drained, served have %v", got)
	}
	wantsSteer(c, 1, "is the last upstream of production", "drain", "app", prod.Addr)
	wantsSteer(c, 1, "write --force", "weight", "app", prod.Addr, "0")
	wantsSteer(c, 0, "production serves its requests", "drain", "app", stag.Addr)
	wantsSteer(c, 0, "app: ", "ready", "app", stag.Addr)
	wantsSteer(c, 0, "its requests are answered with 503", "drain", "app", prod.Addr, "--force")
	c.Wants(http.StatusServiceUnavailable, "")
	wantsSteer(c, 0, "app: ", "ready", "app", "http://"+prod.Addr)
	wantsSteer(c, 0, "app: ", "ready", "app", other.Addr)
	wantsSteer(c, 0, "weight 3 (configured: 1)", "weight", "app", prod.Addr, "3")
	if got := c.Tally(8); got["production"] != 6 || got["other"] != 2 {
		t.Errorf("with weights 3 and 1, served have %v", got)
	}
	if code, stdout, _ := steer(c, "weight", "app", prod.Addr, "1", "--json"); code != 0 || strings.Contains(stdout, "override") {
		t.Errorf("weight --json exits with %d:\n%s", code, stdout)
	}

	wantsSteer(c, 1, "did you mean "+prod.Addr[:len(prod.Addr)-1], "drain", "app", prod.Addr[:len(prod.Addr)-1])
	wantsSteer(c, 1, "has no upstream", "drain", "app", "nobody")
	wantsSteer(c, 1, "there is no proxyos route named", "drain", "nobody", prod.Addr)
	wantsSteer(c, 2, "drain: <upstream> is missing", "drain", "app")
	wantsSteer(c, 2, "weight: <weight> is missing", "weight", "app", prod.Addr)
	wantsSteer(c, 2, "is not a weight; write a whole number from 0 to 1000", "weight", "app", prod.Addr, "1.5")
	wantsSteer(c, 2, "weight 1001 is outside 0 to 1000", "weight", "app", prod.Addr, "1001")
	wantsSteer(c, 2, "is negative", "drain", "app", prod.Addr, "--wait", "-1s")
	for _, u := range c.Route().Groups[production].Upstreams {
		if u.Drained || u.Weight != 1 {
			t.Errorf("after commands that failed, %s is %+v", u.Dial, u)
		}
	}
}

func TestDrainWaitsUntilAnUpstreamHasNothingInFlight(t *testing.T) {
	prod, other, stag := plain(t, "production", ""), plain(t, "other", ""), plain(t, "staging", "")
	c := steeredChild(t, prod, other, stag)
	wantsSteer(c, 0, "drained", "drain", "app", other.Addr) // so that the request goes to the first
	release, held := holdRequest(c, prod)
	wantsSteer(c, 0, "app: ", "ready", "app", other.Addr)

	wantsSteer(c, 4, "still has 1 request in flight after 300ms", "drain", "app", prod.Addr, "--wait", "300ms")
	c.Wants(http.StatusOK, "other") // it stays drained
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		wantsSteer(c, 0, "drained", "drain", "app", prod.Addr, "--wait", "20")
	}()
	release()
	<-drained
	<-held

	// in a config that no longer has the upstream, nobody knows what is in flight there
	wantsSteer(c, 0, "app: ", "ready", "app", prod.Addr)
	wantsSteer(c, 0, "drained", "drain", "app", other.Addr)
	release, held = holdRequest(c, prod)
	wantsSteer(c, 0, "app: ", "ready", "app", other.Addr)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		wantsSteer(c, 4, "the config no longer has "+prod.Addr, "drain", "app", prod.Addr, "--wait", "20s")
	}()
	eventually(t, "it is drained", func() bool { return c.Route().Groups[production].Upstreams[0].Drained })
	without, err := c.Prepare(adapt(t, steeredConfig(c, other, stag, plain(t, "new", ""))))
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := c.Ask(http.MethodPost, "/load", string(without)); status != http.StatusOK {
		t.Fatalf("loading a config without it: %d %s", status, answer)
	}
	<-gone
	release()
	<-held
}
