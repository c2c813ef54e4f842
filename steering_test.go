package proxyos

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// testRoute returns a route that is not loaded, with both groups.
func testRoute(name string, state *routeState, split *splitter) *route {
	r := &route{name: name, state: state, split: split, breaker: &state.breaker, logger: zap.NewNop()}
	r.production = &group{name: production, state: &state.production, breaker: r.breaker}
	r.staging = &group{name: staging, state: &state.staging, breaker: r.breaker}
	r.groups = []*group{r.production, r.staging}
	return r
}

// plannedRoute returns a route that is not loaded, with a configured split.
func plannedRoute(t *testing.T, percent float64) *route {
	t.Helper()
	h := &Handler{Name: t.Name(), Upstreams: []Upstream{{Address: "a:1"}}, TrafficSplit: &percent, Staging: &Group{Upstreams: []Upstream{{Address: "b:1"}}}}
	p, err := newPlan(h, routeDefaults{})
	if err != nil {
		t.Fatal(err)
	}
	p.name = "app"
	r := newRoute(p, nil, zap.NewNop())
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newTestSteering(routes ...*route) *steering {
	s := &steering{logger: zap.NewNop(), routes: &registry{routes: routes}, instance: instanceID(), store: &overrideStore{memory: newMemory()}}
	s.running = func() *steering { return s }
	return s
}

func TestAStoppedConfigLeavesTheSplitsAlone(t *testing.T) {
	route := plannedRoute(t, 10)
	s := newTestSteering(route)
	document := func(percent float64) document {
		return document{Version: 1, Routes: map[string]*override{"app": newOverride(percent, 10, "")}}
	}
	s.putInForce(document(20), true)
	if got := route.split.current().percent; got != 20 {
		t.Fatalf("%v %% applies, want 20 %%", got)
	}
	s.stopped = true
	s.putInForce(document(30), true)
	if got := route.split.current().percent; got != 20 {
		t.Errorf("a stopped config sets the split to %v %%", got)
	}
}

func TestAnOverrideAppliesToTheConfiguredShareItWasSetAgainst(t *testing.T) {
	state := newRouteState()
	state.override.put(newOverride(70, 10, ""))
	for configured, want := range map[float64]float64{10: 70, 0: 0, 10.5: 10.5, 70: 70, 100: 100} {
		if got := state.splitter(configured, "").current().percent; got != want {
			t.Errorf("configured %v %%: %v %% applies, want %v %%", configured, got, want)
		}
	}
}

func TestARetiredSplitAppliesToTheConfigBeforeAndToNoneAfter(t *testing.T) {
	before := plannedRoute(t, 0)
	old := newTestSteering(before)
	set := newOverride(100, 0, "").withInstance(old.instance, 0)
	old.putInForce(document{Routes: map[string]*override{"app": set}}, true)
	old.review(time.Now())

	// the next config may yet fail to start
	failed := plannedRoute(t, 50)
	if got := failed.split.current().percent; got != 50 {
		t.Errorf("a config with an edited split has %v %%", got)
	}
	if got := plannedRoute(t, 0).split.current().percent; got != 100 {
		t.Errorf("a config that was never running has made the split %v %%", got)
	}

	edited := plannedRoute(t, 50)
	s := newTestSteering(edited)
	if !s.review(time.Now()) {
		t.Error("the storage is not told")
	}
	doc := document{Routes: map[string]*override{"app": set}}
	if changed, err := s.note(&doc); err != nil || !changed {
		t.Errorf("the mark is not written: %v", err)
	}
	s.putInForce(doc, true)
	for range 2 {
		if got := before.split.current().percent; got != 100 {
			t.Errorf("the config before goes back to %v %% while it still serves", got)
		}
		if got := edited.split.current().percent; got != 50 {
			t.Errorf("the edited config has %v %%, want its own 50", got)
		}
	}
	if s.review(time.Now()) {
		t.Error("the storage is told twice")
	}
	if got := plannedRoute(t, 0).split.current().percent; got != 0 {
		t.Errorf("edited back, the config has %v %%: the retired split applies again", got)
	}

	// edited back before the storage was told
	s.putInForce(document{Routes: map[string]*override{"app": set}}, true)
	if got := plannedRoute(t, 0).split.current().percent; got != 0 {
		t.Errorf("edited back, with a storage that does not know, the config has %v %%", got)
	}
}

func TestWhatCannotBeToldApartHoldsForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		route := plannedRoute(t, 0)
		s := newTestSteering(route)
		s.logger = zap.New(core)
		set := newOverride(100, 0, "").withInstance("other", 0).withInstance("third", 0).withRolled("other", 100, time.Now())
		s.putInForce(document{Routes: map[string]*override{"app": set}}, false)
		for range 60 {
			s.review(time.Now())
			if got := route.split.current().percent; got != 100 || route.status().Override.UnclearUntil == nil {
				t.Fatalf("%v %% applies, shown as %+v", got, route.status().Override)
			}
			time.Sleep(time.Minute)
		}
		s.review(time.Now())
		if got := route.split.current().percent; got != 0 {
			t.Errorf("after an hour %v %% applies, want the configured 0", got)
		}
		if n := logs.FilterMessageSnippet("is not clear").FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
			t.Errorf("it is logged %d times", n)
		}
	})
}

// An instance that had the override in force before any other was rolled out knows that, even
// if it could not tell the storage.
func TestWhatThisProcessHasSeenIsClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		route := plannedRoute(t, 0)
		s := newTestSteering(route)
		set := newOverride(100, 0, "").withInstance("other", 0)
		s.putInForce(document{Routes: map[string]*override{"app": set}}, false)
		s.review(time.Now())
		s.putInForce(document{Routes: map[string]*override{"app": set.withRolled("other", 100, time.Now())}}, false)
		time.Sleep(2 * time.Hour)
		if untold := s.review(time.Now()); !untold || route.split.current().percent != 100 {
			t.Errorf("%v %% applies, want 100; the storage is to be told: %v", route.split.current().percent, untold)
		}
	})
}
