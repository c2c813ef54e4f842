package proxyos

import (
	"testing"

	"go.uber.org/zap"
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
	p, err := newPlan(h, nil)
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
	return &steering{logger: zap.NewNop(), routes: &registry{routes: routes}}
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
	state.override.Store(newOverride(70, 10, ""))
	for configured, want := range map[float64]float64{10: 70, 0: 0, 10.5: 10.5, 70: 70, 100: 100} {
		s := splitter{configured: newShare(configured), override: &state.override, phase: &state.phase}
		if got := s.current().percent; got != want {
			t.Errorf("configured %v %%: %v %% applies, want %v %%", configured, got, want)
		}
	}
}

func TestARetiredSplitAppliesToTheConfigBeforeAndToNoneAfter(t *testing.T) {
	before := plannedRoute(t, 0)
	before.state.override.Store(newOverride(100, 0, ""))
	edited := plannedRoute(t, 50)
	before.state.override.Load().retired.Store(true)
	s := newTestSteering(edited)
	s.putInForce(document{}, false) // the storage no longer has it
	if got := before.split.current().percent; got != 100 {
		t.Errorf("the config before goes back to %v %% while it still serves", got)
	}
	if got := edited.split.current().percent; got != 50 {
		t.Errorf("the edited config has %v %%, want its own 50", got)
	}
	if held := s.inForce().Routes; len(held) != 0 {
		t.Errorf("the retired split would be stored again: %v", held)
	}
	if got := plannedRoute(t, 0).split.current().percent; got != 0 {
		t.Errorf("edited back, the config has %v %%: the retired split applies again", got)
	}
}
