package proxyos

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releaseCluster is a cluster whose instances serve requests while a release goes on, and what was
// stored of it.
type releaseCluster struct {
	*cluster
	isOver atomic.Bool // the traffic

	mu                  sync.Mutex
	staging, production float64 // how often each group fails
	stories             []story
	broken              string // what must not have been stored; empty if all is well
}

// failing has the groups fail this often from now on.
func (c *releaseCluster) failing(staging, production float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.staging, c.production = staging, production
}

// latest returns what was stored last, and what must not have been.
func (c *releaseCluster) latest() (last story, broken string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.stories) > 0 {
		last = c.stories[len(c.stories)-1]
	}
	return last, c.broken
}

// story is what was stored of a release.
type story struct {
	version uint64
	phase   release.Phase
	step    int
}

func randomOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// newReleaseCluster starts three instances and their traffic.
func newReleaseCluster(t *testing.T, seed uint64, config *Release) *releaseCluster {
	c := &releaseCluster{cluster: &cluster{t: t, random: rand.New(rand.NewPCG(seed, 1)),
		storage: &historyStorage{lock: make(chan struct{}, 1), values: make(map[string][]byte)}}}
	c.storage.written = c.check
	for _, id := range []string{"a", "b", "c"} {
		n := &node{id: id, release: config}
		c.nodes = append(c.nodes, n)
		c.start(n)
		go c.serve(n, rand.New(rand.NewPCG(seed, uint64(id[0]))))
	}
	return c
}

// serve has an instance answer a hundred requests a second, until the test ends.
func (c *releaseCluster) serve(n *node, random *rand.Rand) {
	for !c.isOver.Load() {
		time.Sleep(10 * time.Millisecond)
		running := n.running.Load()
		if running == nil {
			continue // it is killed
		}
		route := running.routes.named("app")
		round := route.state.release.Load()
		toStaging := route.split.toStaging()
		c.mu.Lock()
		failed := random.Float64() < c.production
		if toStaging {
			failed = random.Float64() < c.staging
		}
		c.mu.Unlock()
		if round != nil {
			round.begin(toStaging)
			round.count(toStaging, failed, time.Millisecond)
		}
	}
}

// check looks at each document that is stored: versions rise, each step follows the one before, and
// no decision is made twice.
func (c *releaseCluster) check(key string, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key != overridesKey || c.broken != "" {
		return
	}
	doc, err := parseDocument(raw)
	if err != nil {
		c.broken = err.Error()
		return
	}
	s := doc.release("app")
	if s == nil {
		return
	}
	now := story{s.Version, s.Phase, s.Step}
	if len(c.stories) == 0 {
		c.stories = append(c.stories, now)
		return
	}
	last := c.stories[len(c.stories)-1]
	switch {
	case now == last:
		return
	case now.version != last.version+1, now.step > last.step+1, now.step < last.step:
		c.broken = fmt.Sprintf("after %+v comes %+v", last, now)
	}
	if percent, holds := s.Share(); holds && doc.Routes["app"].TrafficSplit != percent {
		c.broken = fmt.Sprintf("at %+v the stored share is %v", now, doc.Routes["app"].TrafficSplit)
	}
	c.stories = append(c.stories, now)
}

// end waits until the release is over and all instances know it.
func (c *releaseCluster) end(within time.Duration, phase release.Phase, percent float64) {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < within; time.Sleep(100 * time.Millisecond) {
		if last, _ := c.latest(); last.phase != "" && last.phase != release.Running {
			break
		}
	}
	time.Sleep(2 * historyInterval)
	last, broken := c.latest()
	if broken != "" {
		c.fail("%s", broken)
	}
	if last.phase != phase {
		state, _ := c.nodes[0].state.latestRelease()
		c.fail("after %s it is %s at step %d, want %s; %s", within, last.phase, last.step, phase, state.Reason)
	}
	for _, n := range c.nodes {
		state, _ := n.state.latestRelease()
		if got := n.route.split.current().percent; got != percent || state.Phase != phase {
			c.fail("%s has %v %% and is %s, want %v %% and %s", n.id, got, state.Phase, percent, phase)
		}
	}
}

func (c *releaseCluster) close() {
	c.isOver.Store(true)
	for _, n := range c.nodes {
		n.stop()
	}
	time.Sleep(time.Minute) // until the storage has answered all
}

func testRelease() *Release {
	requests, off, hold := 20, 0.0, caddy.Duration(3*time.Second)
	return &Release{Steps: []float64{5, 20, 50, 100}, Hold: &hold, MinRequests: &requests, MaxErrors: &off, Slower: &off}
}

// Whatever happens to the instances and to their storage, a good release goes through all of its
// steps, once each, and all instances agree.
func TestReleasesGoOnThroughEverything(t *testing.T) {
	for seed := range uint64(releaseHistories) {
		synctest.Test(t, func(t *testing.T) {
			c := newReleaseCluster(t, seed, testRelease())
			c.failing(0.01, 0.01)
			defer c.close()
			if err := c.nodes[0].steering.startRelease(t.Context(), c.nodes[0].route, "ops", "", true); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				c.disturb()
				time.Sleep(time.Duration(c.random.IntN(1500)) * time.Millisecond)
			}
			c.storage.set("", 0)
			c.end(5*time.Minute, release.Done, 100)
		})
		if t.Failed() {
			return
		}
	}
}

// disturb does something to an instance or to the storage.
func (c *releaseCluster) disturb() {
	n := c.nodes[c.random.IntN(len(c.nodes))]
	did := ""
	switch c.random.IntN(6) {
	case 0, 1:
		did = n.id + " is killed and starts again"
		c.kill(n)
		time.Sleep(time.Duration(c.random.IntN(500)) * time.Millisecond)
		c.start(n)
	case 2:
		did = n.id + " is reloaded"
		c.start(n)
	case 3:
		fault := []string{"down", "read-only", ""}[c.random.IntN(3)]
		did = "the storage is " + fault
		c.storage.set(fault, 0)
	case 4:
		did = "the storage is slow"
		c.storage.set("", time.Duration(c.random.IntN(2000))*time.Millisecond)
	case 5:
		did = "the storage is quick"
		c.storage.set("", 0)
	}
	c.log = append(c.log, "\n"+did)
}

// A staging that fails is found by what all instances have counted, once, while one is killed and
// the storage is slow.
func TestABadReleaseIsRolledBackByAll(t *testing.T) {
	for seed := range uint64(releaseHistories) {
		synctest.Test(t, func(t *testing.T) {
			c := newReleaseCluster(t, seed, testRelease())
			c.failing(0.3, 0.01)
			defer c.close()
			if err := c.nodes[1].steering.startRelease(t.Context(), c.nodes[1].route, "ops", "", true); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(c.random.IntN(2000)) * time.Millisecond)
			c.nodes[0].storage.delay.Store(int64(c.random.IntN(1000)) * int64(time.Millisecond)) // its own way there
			c.kill(c.nodes[2])
			time.Sleep(3 * time.Second)
			c.start(c.nodes[2])
			c.end(time.Minute, release.RolledBack, 0)
		})
		if t.Failed() {
			return
		}
	}
}

// While both groups fail, a release waits.
func TestAReleaseWaitsWhileProductionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testRelease()
		percent := 5.0
		config.MaxErrors = &percent
		c := newReleaseCluster(t, 1, config)
		c.failing(0.5, 0.5)
		defer c.close()
		if err := c.nodes[0].steering.startRelease(t.Context(), c.nodes[0].route, "ops", "", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		status := c.nodes[0].route.releaseStatus()
		if status.Phase != string(release.Running) || status.Step != 1 {
			t.Fatalf("it is %s at step %d: %s", status.Phase, status.Step, status.Reason)
		}
		isSaid := false
		for _, wait := range status.Waits {
			isSaid = isSaid || wait.For == release.ForProduction
		}
		if !isSaid {
			t.Errorf("it waits for %+v, want production, too", status.Waits)
		}
		c.failing(0, 0)
		c.end(5*time.Minute, release.Done, 100)
	})
}

// Without traffic, a release never goes on, and fails when its time is over.
func TestAReleaseWithoutTrafficFailsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, storage: &historyStorage{lock: make(chan struct{}, 1), values: make(map[string][]byte)}}
		config := testRelease()
		hour := caddy.Duration(time.Hour)
		config.Deadline = &hour
		n := &node{id: "a", release: config}
		c.nodes = []*node{n}
		c.start(n)
		defer func() {
			n.stop()
			time.Sleep(time.Minute)
		}()
		if err := n.steering.startRelease(t.Context(), n.route, "ops", "", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		if got := n.route.split.current().percent; got != 5 {
			t.Fatalf("without a request, the share is %v %%", got)
		}
		time.Sleep(2 * time.Minute)
		state, _ := n.state.latestRelease()
		if got := n.route.split.current().percent; got != 0 || state.Phase != release.RolledBack {
			t.Fatalf("after the deadline, the share is %v %%, and it is %s", got, state.Phase)
		}
		t.Log(state.Reason)
	})
}

// A share that is set by hand ends the release, and so does an edited traffic_split.
func TestAHandEndsARelease(t *testing.T) {
	for name, end := range map[string]func(c *releaseCluster) (percent float64, err error){
		"set": func(c *releaseCluster) (float64, error) {
			return 33, c.nodes[1].steering.set(c.t.Context(), c.nodes[1].route, 33, "ops", "")
		},
		"an edited traffic_split": func(c *releaseCluster) (float64, error) {
			for _, n := range c.nodes {
				n.configured = 7
				c.start(n)
			}
			return 7, nil
		},
		"reset": func(c *releaseCluster) (float64, error) {
			return 0, c.nodes[2].steering.reset(c.t.Context(), c.nodes[2].route, "ops", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReleaseCluster(t, 1, testRelease())
				defer c.close()
				if err := c.nodes[0].steering.startRelease(t.Context(), c.nodes[0].route, "ops", "", true); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * historyInterval)
				percent, err := end(c)
				if err != nil {
					t.Fatal(err)
				}
				c.end(time.Minute, release.Stopped, percent)
			})
		})
	}
}
