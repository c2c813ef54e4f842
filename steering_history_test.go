package proxyos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// historyInterval is how often their instances read the storage.
const historyInterval = time.Second

// cluster is three instances on one storage, and a model of what they should do.
type cluster struct {
	t       *testing.T
	random  *rand.Rand
	storage *historyStorage
	nodes   []*node
	log     []string
	asked   map[float64]bool // all shares that anybody has asked for

	backups [][]byte
	kept    bool     // the storage has kept the last acknowledged change
	last    *float64 // that change; nil for a reset
}

// node is an instance: a process with a data folder.
type node struct {
	id         string
	configured float64
	memory     *memory
	state      *routeState
	route      *route
	steering   *steering
	running    atomic.Pointer[steering] // the same, for others
	stop       context.CancelFunc
	release    *Release // configured
	storage    *ownWay
	logger     *zap.Logger // nil: none
}

// ownWay is the way of one instance to the storage, which may be slow.
type ownWay struct {
	*historyStorage
	delay atomic.Int64
}

func (w *ownWay) Load(ctx context.Context, key string) ([]byte, error) {
	time.Sleep(time.Duration(w.delay.Load()))
	return w.historyStorage.Load(ctx, key)
}

func (w *ownWay) Store(ctx context.Context, key string, value []byte) error {
	time.Sleep(time.Duration(w.delay.Load()))
	return w.historyStorage.Store(ctx, key, value)
}

// historyStorage can be lost, go back, deny, hang and fail.
type historyStorage struct {
	certmagic.Storage // what is not implemented here panics
	mu                sync.Mutex
	lock              chan struct{}
	values            map[string][]byte
	fault             string
	delay             time.Duration
	slow              atomic.Int64 // operations that are under way and delayed
	written           func(key string, value []byte)
}

var errFault = errors.New("the storage fails")

func (s *historyStorage) set(fault string, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.delay = fault, delay
}

func (s *historyStorage) try(ctx context.Context, operation string) error {
	s.mu.Lock()
	fault, delay := s.fault, s.delay
	s.mu.Unlock()
	if delay > 0 { // timers that are due at once end the race detector, where two goroutines of a bubble look at them
		s.slow.Add(1)
		defer s.slow.Add(-1)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case fault == "deny" && operation == "load":
		return fs.ErrNotExist
	case fault == "down", fault == "deny", fault == "read-only" && operation != "load":
		return errFault
	}
	return nil
}

func (s *historyStorage) Lock(ctx context.Context, _ string) error {
	if err := s.try(ctx, "lock"); err != nil {
		return err
	}
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *historyStorage) Unlock(context.Context, string) error {
	<-s.lock
	return nil
}

func (s *historyStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if err := s.try(ctx, "load"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, ok := s.values[key]; ok {
		return value, nil
	}
	return nil, fs.ErrNotExist
}

func (s *historyStorage) Store(ctx context.Context, key string, value []byte) error {
	if err := s.try(ctx, "store"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
	if s.written != nil {
		s.written(key, value)
	}
	return nil
}

func (s *historyStorage) Delete(ctx context.Context, key string) error {
	if err := s.try(ctx, "delete"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	return nil
}

func (s *historyStorage) List(ctx context.Context, prefix string, _ bool) (keys []string, err error) {
	if err := s.try(ctx, "list"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.values {
		if strings.HasPrefix(key, prefix+"/") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (s *historyStorage) document() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[overridesKey]
}

func (s *historyStorage) put(raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.values, overridesKey); raw != nil {
		s.values[overridesKey] = raw
	}
}

// start runs a config with the node's configured share, in place of the one before, if any.
func (c *cluster) start(n *node) { c.load(n)() }

// load is start but for the end of the config before, which the caller chooses.
func (c *cluster) load(n *node) (end func()) {
	before, stop := n.steering, n.stop
	if before == nil {
		n.memory, n.state = newMemory(), newRouteState()
	}
	split := n.state.splitter(n.configured, n.id)
	one := testRoute("app", n.state, split)
	one.isNew, one.release = before == nil, n.release
	routes := []*route{one}
	s := &steering{routes: &registry{routes: routes, byName: map[string]*route{"app": one}}, interval: historyInterval, logger: zap.NewNop(), instance: n.id,
		running: n.running.Load, synced: make(chan struct{}), wake: make(chan struct{}, 1)}
	if n.storage == nil {
		n.storage = &ownWay{historyStorage: c.storage}
	}
	if n.logger != nil {
		s.logger = n.logger
	}
	s.store = newOverrideStore(n.storage, n.id, s.putInForce, s.logger)
	s.store.memory = n.memory
	ctx, cancel := context.WithCancel(c.t.Context())
	n.stop = cancel
	go s.follow(ctx)
	go s.runReleases(ctx)
	select {
	case <-s.synced:
	case <-time.After(startupWait):
	}
	old := n.route
	n.steering, n.route = s, one
	n.running.Store(s)
	return func() {
		if before == nil {
			return
		}
		stop()
		before.mu.Lock()
		before.stopped = true
		before.mu.Unlock()
		s.wake <- struct{}{}
		n.state.override.leave(old.split)
	}
}

// kill ends the node as kill -9 does: all that it knows is gone.
func (c *cluster) kill(n *node) {
	n.stop()
	n.steering.mu.Lock()
	n.steering.stopped = true
	n.steering.mu.Unlock()
	n.steering = nil
	n.running.Store(nil)
	synctest.Wait()
}

// settle waits two intervals after the last event, and checks that all do what the rule says.
func (c *cluster) settle() {
	c.storage.set("", 0)
	for c.storage.slow.Load() > 0 { // the last event is that the storage is fast again
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(2 * historyInterval)
	raw := c.storage.document()
	var doc document
	if raw != nil {
		var err error
		if doc, err = parseDocument(raw); err != nil {
			for _, n := range c.nodes {
				if n.memory.raw != nil {
					c.fail("%s has had a document, and stored is %s", n.id, raw)
				}
			}
		}
	}
	o := doc.Routes["app"]
	if c.kept && (c.last == nil) != (o == nil) || c.kept && o != nil && o.TrafficSplit != *c.last {
		c.fail("the last acknowledged change is lost; stored is\n%s", raw)
	}
	for _, n := range c.nodes {
		want := n.configured
		if o != nil && ruleHolds(o, n) {
			want = o.TrafficSplit
		}
		if got := n.route.split.current().percent; got != want {
			c.fail("%s has %v %%, want %v, stored is\n%s", n.id, got, want, raw)
		}
		if o != nil {
			_, isRolled := o.Rolled[n.id]
			_, isKnown := o.Configured[n.id]
			if _, begun := o.firstRolled(); !isRolled && !isKnown && !begun {
				c.fail("the document does not know %s:\n%s", n.id, raw)
			}
		}
	}
}

// nextRelease checks that a share that is set once all is quiet holds on all instances, whatever
// they have been through.
func (c *cluster) nextRelease() {
	const percent = 77.5
	setter := c.nodes[c.random.IntN(len(c.nodes))]
	if err := setter.steering.set(c.t.Context(), setter.route, percent, "ops", ""); err != nil {
		c.fail("once all is quiet, %s cannot set a share: %v", setter.id, err)
	}
	time.Sleep(2 * historyInterval)
	for _, n := range c.nodes {
		if got := n.route.split.current().percent; got != percent {
			c.fail("%s has set %v %%, and %s has %v %%; stored is\n%s", setter.id, percent, n.id, got, c.storage.document())
		}
	}
}

// ruleHolds is the table of docs/clusters.md, for a history that takes less than an hour.
func ruleHolds(o *override, n *node) bool {
	if _, ended := o.Rolled[n.id]; ended {
		return false
	}
	if was, isKnown := o.Configured[n.id]; isKnown {
		return n.configured == was
	}
	if len(o.Configured) > 0 && len(o.Rolled) > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(o.Configured)), func(id string) bool {
		_, rolledOut := o.Rolled[id]
		return !rolledOut
	}) {
		return false // all that had it are rolled out
	}
	return n.configured == o.Against || slices.Contains(slices.Collect(maps.Values(o.Configured)), n.configured)
}

func (c *cluster) fail(format string, values ...any) {
	c.t.Helper()
	c.t.Fatalf("after\n%v\n%s", c.log, fmt.Sprintf(format, values...))
}

// served checks that no instance serves a share that nobody has asked for.
func (c *cluster) served() {
	for _, n := range c.nodes {
		if share := n.route.split.current().percent; !c.asked[share] {
			c.fail("%s serves %v %%, for which nobody has asked", n.id, share)
		}
	}
}

func (c *cluster) step() {
	n := c.nodes[c.random.IntN(len(c.nodes))]
	did := ""
	switch c.random.IntN(11) {
	case 0, 1, 2: // a change
		percent := float64(1 + c.random.IntN(99))
		c.asked[percent] = true
		before := c.storage.document()
		err := n.steering.set(c.t.Context(), n.route, percent, "ops", "")
		did = fmt.Sprintf("%s sets %v: %v", n.id, percent, err != nil)
		if err == nil {
			c.kept, c.last = true, &percent
			if got := n.route.split.current().percent; got != percent {
				c.fail("%s acknowledges %v %% and serves %v", n.id, percent, got)
			}
			doc, _ := parseDocument(c.storage.document())
			if o := doc.Routes["app"]; o == nil || o.TrafficSplit != percent {
				c.fail("%s acknowledges %v %%, and stored is\n%s\nbefore it was\n%s", n.id, percent, c.storage.document(), before)
			}
		}
	case 3:
		err := n.steering.reset(c.t.Context(), n.route, "ops", "")
		if err == nil {
			c.kept, c.last = true, nil
		}
		did = fmt.Sprintf("%s resets: %v", n.id, err != nil)
	case 4, 5: // a reload, edited or reverted
		n.configured = []float64{0, 100}[c.random.IntN(2)]
		did = fmt.Sprintf("%s is reloaded with %v", n.id, n.configured)
		c.start(n)
	case 6:
		did = fmt.Sprintf("%s is restarted", n.id)
		c.kill(n)
		c.start(n)
	case 7:
		did, c.kept = "the document is lost", false
		if c.random.IntN(3) == 0 {
			did = "the document is damaged"
			c.storage.put([]byte("damaged"))
		} else {
			c.storage.put(nil)
		}
	case 8:
		fault := []string{"down", "deny", "read-only", ""}[c.random.IntN(4)]
		did = "the storage is " + fault
		c.storage.set(fault, 0)
	case 9:
		did = "the storage is slow"
		c.storage.set("", time.Duration(c.random.IntN(3000))*time.Millisecond)
	case 10:
		did, c.kept = "the storage goes back", false
		c.storage.put(c.backups[c.random.IntN(len(c.backups))])
	}
	c.log = append(c.log, "\n"+did)
	c.backups = append(c.backups, c.storage.document())
	c.served()
	time.Sleep(time.Millisecond) // two changes never have the same time
	if c.random.IntN(3) > 0 {
		time.Sleep(time.Duration(c.random.IntN(2500)) * time.Millisecond)
		c.served()
	}
}

// Whatever happens to instances and their storage, no instance serves a share that nobody has
// asked for, an acknowledged change is stored, and all agree once all is quiet.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(histories) {
		synctest.Test(t, func(t *testing.T) {
			c := &cluster{t: t, random: rand.New(rand.NewPCG(seed, 1)), asked: map[float64]bool{0: true, 100: true},
				storage: &historyStorage{lock: make(chan struct{}, 1), values: make(map[string][]byte)}}
			c.log = append(c.log, fmt.Sprint("seed ", seed))
			for _, id := range []string{"a", "b", "c"} {
				n := &node{id: id}
				c.nodes = append(c.nodes, n)
				c.start(n)
			}
			c.backups = [][]byte{nil}
			for range 20 {
				c.step()
			}
			c.settle()
			c.nextRelease()
			for _, n := range c.nodes {
				n.stop()
			}
			synctest.Wait()
		})
		if t.Failed() {
			return
		}
	}
}

// A share that another instance sets holds on an instance whose configuration was edited before,
// however short before, and however long the one before still serves: the one that sets it does not
// know of that yet.
func TestAShareThatIsSetRightAfterAReloadHolds(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, startInterval / 2, 2 * startInterval, historyInterval, 3 * historyInterval} {
		for _, serving := range []time.Duration{0, startInterval, historyInterval / 2, 2 * historyInterval} {
			t.Run(fmt.Sprintf("%s after it, while the one before serves for %s", after, serving), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { setAfterReload(t, after, serving) })
			})
		}
	}
}

func setAfterReload(t *testing.T, after, serving time.Duration) {
	c := &cluster{t: t, asked: make(map[float64]bool),
		storage: &historyStorage{lock: make(chan struct{}, 1), values: make(map[string][]byte)}}
	for _, id := range []string{"a", "b", "c"} {
		n := &node{id: id, configured: 10}
		c.nodes = append(c.nodes, n)
		c.start(n)
	}
	edited, setter := c.nodes[0], c.nodes[1]
	c.set(setter, 30)
	time.Sleep(2 * historyInterval)
	c.allHave(30, 30, 30)

	edited.configured = 20
	end := c.load(edited)
	go func() {
		time.Sleep(serving)
		end()
	}()
	time.Sleep(after)
	c.set(setter, 50)
	time.Sleep(serving + 2*historyInterval)
	c.allHave(50, 50, 50)

	edited.configured = 25 // it ends where it is edited after that
	c.start(edited)
	time.Sleep(2 * historyInterval)
	c.allHave(25, 50, 50)
	for _, n := range c.nodes {
		n.stop()
	}
	synctest.Wait()
}

func (c *cluster) set(by *node, percent float64) {
	c.t.Helper()
	if err := by.steering.set(c.t.Context(), by.route, percent, "ops", ""); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) allHave(shares ...float64) {
	c.t.Helper()
	for i, n := range c.nodes {
		if got := n.route.split.current().percent; got != shares[i] {
			c.t.Fatalf("%s has %v %%, want %v; stored is\n%s", n.id, got, shares[i], c.storage.document())
		}
	}
}
