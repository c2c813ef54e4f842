package dashboard

import (
	"math"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// clocked is a history with a time that a test moves.
type clocked struct {
	*History
	at time.Time
}

func newClocked() *clocked { return &clocked{NewHistory(), time.Unix(1e9, 0)} }

// add tells of a group at so many seconds after the time before.
func (c *clocked) add(after float64, requests, errors uint64, inFlight int64) {
	c.at = c.at.Add(time.Duration(after * float64(time.Second)))
	g := Group{Name: "production", Requests: requests, Errors: errors, InFlight: inFlight, Durations: []uint64{requests}}
	c.Add(&Snapshot{Routes: []Route{{Name: "shop", Groups: []Group{g}}}}, c.at)
}

func TestRatesAreOfTheLastTenSeconds(t *testing.T) {
	type second struct {
		after            float64
		requests, errors uint64
	}
	steady := func(n int, each uint64) (all []second) {
		for i := range n {
			all = append(all, second{1, 1000 + uint64(i)*each, uint64(i)})
		}
		return all
	}
	for _, c := range []struct {
		claim   string
		seconds []second
		rate    float64 // -1: not known
		errors  float64 // likewise
	}{
		{"nothing is known at first", []second{{0, 1000, 10}}, -1, -1},
		{"the first second counts", []second{{0, 1000, 10}, {1, 1005, 11}}, 5, 20},
		{"without requests there is no share of errors", []second{{0, 1000, 10}, {1, 1000, 10}}, 0, -1},
		{"steady ones", steady(60, 10), 10, 10},
		{"old ones are forgotten", append(steady(60, 10), second{1, 2000, 100}, second{10, 2000, 100}), 0, -1},
		{"seconds that were missed share what came in them", []second{{0, 0, 0}, {5, 50, 0}}, 10, 0},
		{"a longer gap counts for what it lasted", []second{{0, 0, 0}, {100, 1000, 0}}, 10, 0},
		{"two snapshots in a second are added", []second{{0, 0, 0}, {1, 5, 0}, {0.2, 8, 2}}, 8, 25},
		{"ticks may be early and late", []second{{0, 0, 0}, {0.8, 1, 0}, {1.4, 2, 0}, {0.7, 3, 0}}, 1, 0},
		{"a restart is a fresh start", append(steady(60, 10), second{1, 7, 0}), -1, -1},
		{"and goes on from there", append(steady(60, 10), second{1, 7, 0}, second{1, 9, 1}), 2, 50},
		{"errors alone may go back, too", []second{{0, 10, 5}, {1, 20, 4}}, -1, -1},
		{"a gap above 15 minutes is one, too", []second{{0, 0, 0}, {901, 5000, 0}}, -1, -1},
	} {
		h := newClocked()
		for _, s := range c.seconds {
			h.add(s.after, s.requests, s.errors, 0)
		}
		n := h.now("shop", "production")
		for _, v := range []struct {
			what string
			want float64
			of   func() (float64, bool)
		}{{"rate", c.rate, n.rate}, {"errors", c.errors, n.errorShare}} {
			got, ok := v.of()
			if !ok {
				got = -1
			}
			if math.Abs(got-v.want) > 1e-9 {
				t.Errorf("%s: %s is %v, want %v", c.claim, v.what, got, v.want)
			}
		}
	}
}

func TestQuantilesAreOfTheLastThirtySeconds(t *testing.T) {
	h := newClocked()
	for i := range 31 {
		h.add(1, uint64(i), 0, 0)
	}
	if n := h.now("shop", "production"); n.durations != (buckets{30}) {
		t.Errorf("after 30 s: %v", n.durations)
	}
	for range 30 {
		h.add(1, 30, 0, 0)
	}
	if n := h.now("shop", "production"); n.durations != (buckets{}) {
		t.Errorf("30 s later: %v", n.durations)
	}
}

func TestLinesHaveTheLastFifteenMinutes(t *testing.T) {
	h := newClocked()
	for i := range 2000 {
		h.add(1, uint64(i*3), 0, int64(i%10))
	}
	l := h.lines("shop", "production")
	if len(l.requests) < remembered/foldSeconds-1 || slices.Min(l.requests) != 3 || slices.Max(l.requests) != 3 {
		t.Errorf("requests: %d points, %v", len(l.requests), l.requests)
	}
	if slices.Min(l.inFlight) != 9 {
		t.Errorf("in flight is not the largest of ten seconds: %v", l.inFlight)
	}
	if l.quantiles[0][0] != 2500 {
		t.Errorf("p50: %v", l.quantiles[0])
	}
	before := l.requests
	h.add(1, 2000*3+600, 0, 0)
	if got := h.lines("shop", "production").requests; !slices.Equal(got, before) {
		t.Errorf("a line has changed before ten seconds were over")
	}
}

func TestHistoryForgetsRoutesThatAreGone(t *testing.T) {
	h, s := NewHistory(), twoRoutes()
	h.Add(s, time.Unix(0, 0))
	if len(h.groups) != 3 || len(h.routes) != 2 {
		t.Fatalf("%d groups, %d routes", len(h.groups), len(h.routes))
	}
	h.Add(&Snapshot{Routes: s.Routes[1:]}, time.Unix(1, 0))
	if len(h.groups) != 1 || len(h.routes) != 1 || h.groups[historyKey{"nas.example.com", "production"}] == nil {
		t.Errorf("%v, %v", h.groups, h.routes)
	}
}

func TestGroupsTakeMemoryOnceTheyHaveRequests(t *testing.T) {
	h := newClocked()
	h.add(0, 7, 0, 0)
	h.add(1, 7, 0, 0)
	track := h.groups[historyKey{"shop", "production"}]
	if track.ring != nil {
		t.Error("a group without requests has a ring")
	}
	h.add(1, 8, 0, 0)
	if track.ring == nil {
		t.Fatal("a group with requests has no ring")
	}
	if size := unsafe.Sizeof(*track.ring) + unsafe.Sizeof(*track); size > 25_000 {
		t.Errorf("a group takes %d bytes", size)
	}
}

func TestExtrasAreCountedForTheRoute(t *testing.T) {
	h, at := NewHistory(), time.Unix(0, 0)
	add := func(fallbacks, retries uint64) {
		h.Add(&Snapshot{Routes: []Route{{Name: "shop", Fallbacks: fallbacks, Retries: retries}}}, at)
		at = at.Add(time.Second)
	}
	for i := range uint64(40) {
		add(2*i, 1000)
	}
	for kind, want := range map[extraKind]float64{fallbacks: 2, retries: 0} {
		rate, line := h.extraRate("shop", kind), h.extraLine("shop", kind)
		if rate != want || len(line) != 4 || slices.Max(line) != want {
			t.Errorf("%v: %v/s, %v", kind, rate, line)
		}
	}
	add(1, 1)
	if rate := h.extraRate("shop", fallbacks); rate > 2 {
		t.Errorf("%v/s after a restart", rate)
	}
}

func TestRoutesAreToldApart(t *testing.T) {
	got := refs([]Route{{Label: "a"}, {Name: "a", Label: "a"}, {Label: "a"}, {Label: ""}, {Label: "b"}, {Label: "a #2"}})
	if want := []string{"a #2", "a", "a #3", " #2", "b", "a #2 #2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
