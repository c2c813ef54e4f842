package proxyos

import (
	"testing"

	"go.uber.org/zap"
)

func TestAStoppedConfigLeavesTheSplitsAlone(t *testing.T) {
	route := &Handler{Name: "app", state: newRouteState(), groups: []*group{{name: production}, {name: staging}}}
	route.split = &splitter{configured: newShare(10), override: &route.state.override, phase: &route.state.phase}
	a := &App{logger: zap.NewNop(), routes: []*Handler{route}}
	document := func(percent float64) document {
		return document{Version: 1, Routes: map[string]storedOverride{"app": {TrafficSplit: percent, Against: 10}}}
	}
	a.putInForce(document(20), true)
	if got := route.split.current().percent; got != 20 {
		t.Fatalf("in force are %v %%, want 20", got)
	}
	a.stopped = true
	a.putInForce(document(30), true)
	if got := route.split.current().percent; got != 20 {
		t.Errorf("a stopped config makes the split %v %%", got)
	}
}

func TestAnOverrideHoldsForTheConfiguredShareItWasSetAgainst(t *testing.T) {
	state := newRouteState()
	state.override.Store(&override{share: newShare(70), Against: 10})
	for configured, want := range map[float64]float64{10: 70, 0: 0, 10.5: 10.5, 70: 70, 100: 100} {
		s := splitter{configured: newShare(configured), override: &state.override, phase: &state.phase}
		if got := s.current().percent; got != want {
			t.Errorf("configured %v %%: in force are %v %%, want %v", configured, got, want)
		}
	}
}

func TestARetiredSplitHoldsForTheConfigBeforeAndForNoneAfter(t *testing.T) {
	state := newRouteState()
	withConfigured := func(percent float64) *Handler {
		h := &Handler{Name: "app", TrafficSplit: &percent, state: state, app: &App{}}
		h.bindState()
		return h
	}
	before := withConfigured(0)
	state.override.Store(&override{share: newShare(100), Against: 0})
	edited := withConfigured(50)
	state.override.Load().retired.Store(true)
	app := &App{routes: []*Handler{edited}}
	app.putInForce(document{}, false) // the storage has it no more
	if got := before.split.current().percent; got != 100 {
		t.Errorf("the config before goes back to %v %% while it still serves", got)
	}
	if got := edited.split.current().percent; got != 50 {
		t.Errorf("the edited config has %v %%, want its own 50", got)
	}
	if held := app.inForce().Routes; len(held) != 0 {
		t.Errorf("the retired split would be stored again: %v", held)
	}
	if got := withConfigured(0).split.current().percent; got != 0 {
		t.Errorf("edited back, the config has %v %%: the retired split has come to life again", got)
	}
}
