package proxyos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// hearing is an event handler that calls a function.
type hearing func(caddy.Event)

func (h hearing) Handle(_ context.Context, e caddy.Event) error {
	h(e)
	return nil
}

// eventLab is a route whose events somebody hears.
type eventLab struct {
	*events
	route *route
	runs  atomic.Bool // the config runs
}

// newEventLab returns a lab whose config does not run yet. Nobody hears anything if hear is nil.
func newEventLab(t testing.TB, hear hearing) *eventLab {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	app := new(caddyevents.App)
	if err := app.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if hear != nil {
		if err := app.Subscribe(&caddyevents.Subscription{Modules: []caddy.ModuleID{"http.handlers.proxyos"}, Handlers: []caddyevents.Handler{hear}}); err != nil {
			t.Fatal(err)
		}
	}
	lab := new(eventLab)
	lab.events = newEvents(app, lab.runs.Load, zap.NewNop())
	lab.route = &route{title: "app", events: lab.events}
	*ancestryOf(&ctx) = []caddy.Module{new(App), new(Handler)}
	lab.route.origin = ctx
	go lab.run()
	return lab
}

func (l *eventLab) emit(n int) { l.route.emit(splitEvent, map[string]any{"n": n}) }

func TestEventsComeInOrderOnceTheConfigRuns(t *testing.T) {
	var mu sync.Mutex
	var heard []int
	lab := newEventLab(t, func(e caddy.Event) {
		mu.Lock()
		defer mu.Unlock()
		if !isOfApp(t, e) {
			return
		}
		heard = append(heard, e.Data["n"].(int))
	})
	for n := range 100 {
		lab.emit(n)
	}
	mu.Lock()
	if len(heard) > 0 {
		t.Errorf("heard before the config runs: %v", heard)
	}
	mu.Unlock()
	lab.runs.Store(true)
	proxytest.Eventually(t, "the first event is heard", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(heard) > 0
	})
	for n := 100; n < 200; n++ {
		lab.emit(n)
	}
	lab.stop()
	if len(heard) != 200 || !slices.IsSorted(heard) {
		t.Errorf("heard %v", heard)
	}
	lab.emit(200)
	time.Sleep(10 * time.Millisecond)
	if len(heard) != 200 {
		t.Error("an event is heard after the config has stopped")
	}
}

// isOfApp checks where an event comes from.
func isOfApp(t *testing.T, e caddy.Event) bool {
	t.Helper()
	origin := e.Origin()
	if origin == nil || origin.CaddyModule().ID != "http.handlers.proxyos" || e.Name() != splitEvent || e.Data["route"] != "app" {
		t.Errorf("heard %q from %v with %v", e.Name(), origin, e.Data)
		return false
	}
	return true
}

func TestNothingIsHeardOfAConfigThatDoesNotComeToRun(t *testing.T) {
	var heard atomic.Int64
	lab := newEventLab(t, func(caddy.Event) { heard.Add(1) })
	lab.emit(1)
	lab.stop()
	if n := heard.Load(); n != 0 {
		t.Errorf("heard %d events", n)
	}
}

func TestNobodyWaitsForASlowSubscriber(t *testing.T) {
	release := make(chan struct{})
	var heard atomic.Int64
	lab := newEventLab(t, func(caddy.Event) {
		heard.Add(1)
		<-release
	})
	lab.runs.Store(true)
	began := time.Now()
	for n := range maxPendingEvents + 1000 {
		lab.emit(n)
	}
	lab.stop()
	if took := time.Since(began); took > stopWait+5*time.Second {
		t.Errorf("it took %s", took)
	}
	close(release)
	<-lab.done
	if n := heard.Load(); n > 1 {
		t.Errorf("%d events were heard after the config had stopped", n-1)
	}
	if n := len(lab.pending); n > maxPendingEvents {
		t.Errorf("%d events are pending", n)
	}
}

func TestASubscriberThatPanicsDoesNotEndTheOthers(t *testing.T) {
	var heard atomic.Int64
	lab := newEventLab(t, func(caddy.Event) {
		heard.Add(1)
		panic("on purpose")
	})
	lab.runs.Store(true)
	lab.emit(1)
	lab.emit(2)
	proxytest.Eventually(t, "both events are told", func() bool { return heard.Load() == 2 })
	lab.stop()
}

func TestWhatIsToldOfAnUpstream(t *testing.T) {
	up := toldUpstream{isAny: true, weight: 1}
	with := func(change func(*toldUpstream)) toldUpstream {
		u := up
		change(&u)
		return u
	}
	down := with(func(u *toldUpstream) { u.isDown = true })
	drained := with(func(u *toldUpstream) { u.isDrained = true })
	ejected := with(func(u *toldUpstream) { u.isDown, u.isEjected = true, true })
	heavy := with(func(u *toldUpstream) { u.weight = 2 })
	all := toldUpstream{isAny: true, isDown: true, isDrained: true, weight: 0}
	for _, c := range []struct {
		was, now toldUpstream
		want     []string
	}{
		{up, up, nil}, {all, all, nil},
		{up, down, []string{"down"}}, {down, up, []string{"up"}},
		{up, ejected, []string{"ejected"}}, {ejected, up, []string{"up"}}, {down, ejected, nil}, {ejected, down, nil},
		{up, drained, []string{"drained"}}, {drained, up, []string{"ready"}},
		{up, heavy, []string{"weight"}}, {heavy, up, []string{"weight"}},
		{up, all, []string{"down", "drained", "weight"}}, {all, up, []string{"up", "ready", "weight"}},
	} {
		if got := c.was.changes(c.now); !slices.Equal(got, c.want) {
			t.Errorf("%+v to %+v: %v, want %v", c.was, c.now, got, c.want)
		}
	}
}

// An upstream that is down stays so while it is on trial. One that is only on trial has never
// been down.
func TestAnUpstreamOnTrialHasNotComeBack(t *testing.T) {
	r := measuredRoute(t, "app", Upstream{Address: "a:1"})
	var told toldUpstream
	look := func() bool {
		told = told.next(r.production, r.production.targets[0])
		return told.isDown
	}
	for _, step := range []struct {
		name   string
		change func()
		want   bool
	}{
		{"at first", func() {}, false},
		{"on trial at once", func() { r.breaker.failed("a:1", 0) }, false},
		{"after a failure", func() { r.breaker.failed("a:1", time.Minute) }, true},
		{"on trial", func() { r.breaker.forget("a:1"); r.breaker.failed("a:1", 0) }, true},
		{"after an answer", func() { r.breaker.succeeded("a:1", 200, false) }, false},
		{"ejected", func() { r.breaker.eject("a:1", time.Minute) }, true},
	} {
		step.change()
		if got := look(); got != step.want {
			t.Errorf("%s: down is %v", step.name, got)
		}
	}
	if !told.isEjected {
		t.Error("it is not known why it is down")
	}
}

func BenchmarkLookingAtAThousandUpstreams(b *testing.B) {
	var upstreams []Upstream
	for n := range 1000 {
		upstreams = append(upstreams, Upstream{Address: fmt.Sprintf("a:%d", 1+n)})
	}
	r := measuredRoute(b, "app", upstreams...)
	b.ReportAllocs()
	for b.Loop() {
		r.tellUpstreams(r.production)
	}
}

func BenchmarkAnEventThatNobodyHears(b *testing.B) {
	lab := newEventLab(b, nil)
	lab.runs.Store(true)
	b.ReportAllocs()
	for b.Loop() {
		lab.emit(1)
	}
	lab.stop()
}
