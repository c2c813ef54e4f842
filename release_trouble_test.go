package proxyos

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// startedRelease starts instances whose traffic is good, and a release.
func startedRelease(t *testing.T, config *Release) *releaseCluster {
	t.Helper()
	c := newReleaseCluster(t, 1, config)
	c.startRelease()
	return c
}

func (c *releaseCluster) startRelease() {
	c.t.Helper()
	if err := c.nodes[0].steering.startRelease(c.t.Context(), c.nodes[0].route, "ops", "", true); err != nil {
		c.t.Fatal(err)
	}
}

func (c *releaseCluster) wants(n *node, phase release.Phase, share float64, reason string) {
	c.t.Helper()
	state, _ := n.state.latestRelease()
	if got := n.route.split.current().percent; state.Phase != phase || got != share || !strings.Contains(state.Reason, reason) {
		c.t.Fatalf("it is %s (%s), and the share is %v %%; want %s (%s) and %v %%", state.Phase, state.Reason, got, phase, reason, share)
	}
}

// A route that comes back with a reload follows its release when the storage has answered, however
// late.
func TestARouteComesBackToItsRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startedRelease(t, testRelease())
		defer c.close()
		n := c.nodes[0]
		n.state = newRouteState() // as after a reload without the route
		c.storage.set("", 3*time.Second)
		n.steering, n.route = nil, nil
		before := n.stop
		c.load(n)
		before()
		time.Sleep(10 * time.Second)
		c.storage.set("", 0)
		c.end(time.Minute, release.Done, 100)
	})
}

// What no release can be in is taken for damage, and ends no process.
func TestAStoredReleaseThatMakesNoSenseIsDamage(t *testing.T) {
	for _, stored := range []string{
		`{"plan":{"steps":[5,10]},"phase":"running","version":1,"step":-1}`,
		`{"plan":{"steps":[5,10]},"phase":"running","version":1,"step":2}`,
		`{"plan":{},"phase":"running","version":1}`,
		`{"plan":{"steps":[5,500]},"phase":"running","version":1}`,
		`{"plan":{"steps":[5]},"phase":"running","version":1,"counted":{"staging":{"requests":-1}}}`,
		`{"plan":{"steps":[5]},"phase":7}`,
		`7`,
	} {
		if doc, err := parseDocument([]byte(`{"format":1,"id":"x","version":3,"routes":{},"releases":{"app":` + stored + `}}`)); err == nil {
			t.Errorf("%s is taken for %+v", stored, doc.release("app"))
		}
	}
	for _, counted := range []string{`{"staging":{"requests":-5}}`, `{"staging":{"failed":5}}`, `{"failed_share":-1}`} {
		var g release.Groups
		if err := json.Unmarshal([]byte(counted), &g); err != nil || g.Check() == nil {
			t.Errorf("%s are taken for counts (%v)", counted, err)
		}
	}
}

// The requests of the round before do not count in the next one.
func TestATickLeavesTheRoundBeforeAlone(t *testing.T) {
	s, now := newRouteState(), time.Now()
	state, err := release.Start(release.DefaultPlan(), release.State{}, now)
	if err != nil {
		t.Fatal(err)
	}
	s.follow(&state)
	before := s.release.Load()
	for i := range 10_000 {
		before.begin(i%100 == 0)
		before.count(i%100 == 0, i%50 == 0, time.Millisecond)
	}
	next := state
	next.Version++
	next.CountsFrom, next.Step = next.Version, 1
	s.follow(&next)
	for i, round := range []*releaseRound{before, s.release.Load()} {
		if d, _ := s.live.Load().tick(round, release.DefaultPlan(), true, false, now.Add(time.Duration(i)*time.Second)); d.Kind == release.RollBack {
			t.Errorf("tick %d: %s", i, d.Reason)
		}
		if got := s.live.Load().ownCounts(); got != (release.Groups{}) {
			t.Errorf("tick %d: counted are %+v", i, got)
		}
	}
}

// An instance that is not rolled out yet does not know of the release, and leaves it alone; one that
// had it and is rolled back ends it.
func TestOnlyWhoHadTheReleaseEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReleaseCluster(t, 1, testRelease())
		defer c.close()
		for _, n := range c.nodes[1:] {
			n.release = nil
			c.kill(n)
			c.start(n)
		}
		time.Sleep(3 * time.Second)
		c.startRelease()
		time.Sleep(2 * time.Second)
		for _, n := range c.nodes {
			c.wants(n, release.Running, 5, "started by ops")
		}
		c.nodes[0].release = nil
		c.start(c.nodes[0])
		time.Sleep(3 * time.Second)
		c.wants(c.nodes[0], release.Stopped, 5, "`release` was removed")
	})
}

// A release that is started again has its share again, also where an edit has ended the one before.
func TestAnotherReleaseHasItsShareAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testRelease()
		config.Steps = []float64{10}
		c := startedRelease(t, config)
		defer c.close()
		c.end(time.Minute, release.Done, 10)
		for _, n := range c.nodes {
			n.configured = 5
			c.start(n)
		}
		time.Sleep(5 * time.Second)
		c.wants(c.nodes[0], release.Done, 5, "")
		c.startRelease()
		time.Sleep(2 * historyInterval)
		for _, n := range c.nodes {
			c.wants(n, release.Running, 10, "")
		}
	})
}

// A dry run has set no share, and ends all the same with a share that is set or reset by hand.
func TestAHandEndsADryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testRelease()
		config.DryRun = true
		c := startedRelease(t, config)
		defer c.close()
		n := c.nodes[0]
		if err := n.steering.reset(t.Context(), n.route, "ops", ""); err != nil {
			t.Fatal(err)
		}
		c.wants(n, release.Stopped, 0, "the share was reset by ops")
		c.startRelease()
		if err := n.steering.set(t.Context(), n.route, 33, "ops", ""); err != nil {
			t.Fatal(err)
		}
		c.wants(n, release.Stopped, 33, "the share was set to 33 % by ops")
	})
}

// An older program sets a share and does not know that there is a release.
func TestAShareThatAnOlderProgramSetsEndsARelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startedRelease(t, testRelease())
		defer c.close()
		time.Sleep(1500 * time.Millisecond)
		older := c.nodes[1]
		if err := older.steering.change(t.Context(), older.route, "ops", "", func(doc *document) bool {
			doc.Routes["app"] = doc.Routes["app"].replacedBy(1, 0, older.id, "ops", nil)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * historyInterval)
		c.wants(c.nodes[0], release.Stopped, 1, "the share was set to 1 % by ops")
	})
}

// While the storage takes nothing, traffic goes on as it is, and the release waits: an error says so
// once. A damaged document is written again, and the release goes on.
func TestAReleaseWaitsForItsStorage(t *testing.T) {
	for _, fault := range []string{"read-only", "down", "damaged"} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zapcore.ErrorLevel)
				c := &releaseCluster{cluster: &cluster{t: t, storage: &historyStorage{lock: make(chan struct{}, 1), values: make(map[string][]byte)}}}
				n := &node{id: "a", release: testRelease(), logger: zap.New(core)}
				c.nodes = []*node{n}
				c.start(n)
				go c.serve(n, randomOf(1))
				defer c.close()
				c.startRelease()
				time.Sleep(2 * time.Second)
				if fault == "damaged" {
					c.storage.put([]byte("damaged"))
				} else {
					c.storage.set(fault, 0)
					time.Sleep(time.Minute)
					c.wants(n, release.Running, 5, "started by ops")
					for _, message := range []string{"the storage does not take what was decided about a release", "what the instances have counted for releases cannot be exchanged"} {
						if lines := logs.FilterMessageSnippet(message).Len(); lines != 1 {
							t.Errorf("%q is logged %d times: %v", message, lines, logs.All())
						}
					}
					c.storage.set("", 0)
				}
				time.Sleep(time.Minute)
				c.wants(n, release.Done, 100, "")
			})
		})
	}
}

// What one instance has counted and nobody can read keeps no other from telling.
func TestATallyThatNobodyCanReadIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startedRelease(t, testRelease())
		defer c.close()
		n := c.nodes[0]
		c.storage.mu.Lock()
		c.storage.values[releasesFolder+"/app/mad"] = []byte("{")
		c.storage.mu.Unlock()
		time.Sleep(5 * time.Second)
		live := n.state.live.Load()
		live.mu.Lock()
		others := live.others
		live.mu.Unlock()
		for _, other := range others {
			if other.Instance != "" && other.Instance != "b" && other.Instance != "c" {
				t.Errorf("heard is %+v", other)
			}
		}
		c.storage.mu.Lock()
		_, ok := c.storage.values[releasesFolder+"/app/a"]
		c.storage.mu.Unlock()
		if !ok {
			t.Error("it has told nothing")
		}
	})
}

// Each change is told once, also one that a person makes, and never by following a redirect.
func TestEachChangeOfAReleaseIsToldOnce(t *testing.T) {
	told := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var notice releaseNotice
		_ = json.NewDecoder(r.Body).Decode(&notice)
		told <- r.Method + " " + string(notice.Phase)
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/login", http.StatusFound)
		}
	}))
	defer hook.Close()
	if err := postNotice(hook.URL+"/moved", encode("x")); err == nil || strings.Contains(err.Error(), hook.URL) {
		t.Errorf("a redirect is taken for an answer, or the address is told: %v", err)
	}
	<-told
	c := &cluster{t: t, storage: &historyStorage{lock: make(chan struct{}, 1), values: make(map[string][]byte)}}
	config := testRelease()
	config.Notify = hook.URL
	n := &node{id: "a", release: config}
	c.nodes = []*node{n}
	c.start(n)
	defer n.stop()
	if err := n.steering.startRelease(t.Context(), n.route, "ops", "", true); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != "POST running" {
		t.Errorf("told is %q", got)
	}
	if err := n.steering.set(t.Context(), n.route, 33, "ops", ""); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != "POST stopped" {
		t.Errorf("told is %q", got)
	}
}

// A start that would take requests from staging is refused.
func TestAStartTakesNothingFromStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReleaseCluster(t, 1, testRelease())
		defer c.close()
		n := c.nodes[0]
		if err := n.steering.set(t.Context(), n.route, 50, "ops", ""); err != nil {
			t.Fatal(err)
		}
		err := n.steering.startRelease(t.Context(), n.route, "ops", "", false)
		if err == nil || !strings.Contains(err.Error(), "would begin with taking it back to 5 %") {
			t.Errorf("it is refused with %v", err)
		}
		c.wantsNone(n, 50)
		c.startRelease() // by force
		time.Sleep(5 * time.Second)
		if err := n.steering.startRelease(t.Context(), n.route, "ops", "", false); err == nil || !strings.Contains(err.Error(), "a release is running at ") {
			t.Errorf("a second one is refused with %v", err)
		}
	})
}

func (c *releaseCluster) wantsNone(n *node, share float64) {
	c.t.Helper()
	if state, _ := n.state.latestRelease(); state != nil || n.route.split.current().percent != share {
		c.t.Errorf("there is a release, %+v, or another share", state)
	}
}

// An instance that has been silent, or that counts in another round, says nothing of this one; and the
// share is exact only where the split alone decides, by the release's share.
func TestWhatIsBelievedOfARound(t *testing.T) {
	s, now := newRouteState(), time.Now()
	state, err := release.Start(release.DefaultPlan(), release.State{}, now)
	if err != nil {
		t.Fatal(err)
	}
	s.follow(&state)
	live := s.live.Load()
	counts := release.Groups{Production: release.Counts{Requests: 7, Failed: 7}}
	for _, test := range []struct {
		from   uint64
		silent time.Duration
		fails  bool
		heard  int64
	}{
		{state.CountsFrom, 0, true, 7},
		{state.CountsFrom, silentAfter, false, 7},
		{state.CountsFrom, -silentAfter, false, 7},
		{state.CountsFrom - 1, 0, false, 0},
	} {
		live.hear([]releaseTally{{Instance: "b", StartedAt: state.StartedAt, CountsFrom: test.from, Counts: counts, ProductionFails: true, At: now.Add(-test.silent)}})
		if seen := live.seen(false, now); seen.ProductionFails != test.fails || seen.Counts.Production.Requests != test.heard {
			t.Errorf("%+v: seen is %+v", test, seen)
		}
	}

	split := s.splitter(1, "a")
	r := testRoute("app", s, split)
	dry := state
	dry.Plan.DryRun = true
	sticks := testRoute("app", s, split)
	sticks.cohorts = new(cohorts)
	other := testRoute("app", s, s.splitter(2, "a"))
	for name, test := range map[string]struct {
		route *route
		state release.State
		want  bool
	}{"by the split": {r, state, true}, "sticky": {sticks, state, false}, "a dry run": {r, dry, false}, "another share": {other, state, false}} {
		if got := test.route.isExact(&test.state); got != test.want {
			t.Errorf("%s: the share is exact: %t", name, got)
		}
	}
}
