package latency

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

const ms = time.Millisecond

// near tells whether two durations are the same but for rounding.
func near(got, want time.Duration) bool {
	return math.Abs(float64(got-want)) <= 1+1e-6*float64(want)
}

// decayed returns what is left of a duration.
func decayed(d time.Duration, decayTimes float64) time.Duration {
	return time.Duration(float64(d) * math.Exp(-decayTimes))
}

func TestALongerTimeCountsAtOnceAndDecays(t *testing.T) {
	type shown struct {
		at Moment
		d  time.Duration
	}
	for _, c := range []struct {
		name  string
		shown []shown
		at    Moment
		want  time.Duration
	}{
		{"nothing is known at first", nil, 5, 0},
		{"the first time counts", []shown{{0, 5 * ms}}, 0, 5 * ms},
		{"a longer one replaces it", []shown{{0, 5 * ms}, {0, 50 * ms}}, 0, 50 * ms},
		{"a shorter one takes an eighth away", []shown{{0, 50 * ms}, {0, 10 * ms}}, 0, 45 * ms},
		{"of what is left", []shown{{0, 50 * ms}, {1, 10 * ms}}, 1, (7*decayed(50*ms, 1) + 10*ms) / 8},
		{"20 forget a long one", append([]shown{{0, 50 * ms}}, slices.Repeat([]shown{{0, 5 * ms}}, 20)...), 0, 5*ms + time.Duration(45*float64(ms)*math.Pow(7./8, 20))},
		{"37 % is left after one decay time", []shown{{0, 50 * ms}}, 1, decayed(50*ms, 1)},
		{"ten times as slow is gone after 2.3", []shown{{0, 50 * ms}}, Moment(math.Log(10)), 5 * ms},
		{"and a shorter one counts from then on", []shown{{0, 50 * ms}, {3, 5 * ms}}, 3, 5 * ms},
		{"the same changes nothing", []shown{{2, 5 * ms}, {2, 5 * ms}}, 2, 5 * ms},
		{"late in its life", []shown{{1e7, 5 * ms}}, 1e7 + 1, decayed(5*ms, 1)},
		{"no time at all is a nanosecond", []shown{{0, 0}, {0, -ms}}, 0, 1},
		{"a nanosecond at the beginning is known", []shown{{0, 1}}, 0, 1},
		{"nothing is left in the end", []shown{{0, time.Hour}}, 40, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Peak
			for _, s := range c.shown {
				p.Show(s.d, s.at)
			}
			if got := p.Value(c.at); !near(got, c.want) || p.IsKnown() != (len(c.shown) > 0) {
				t.Errorf("%v, known %v; want %v", got, p.IsKnown(), c.want)
			}
		})
	}
}

func TestMomentsAreCountedInDecayTimes(t *testing.T) {
	g := Group{Decay: 10 * time.Second}
	if got := g.At(25 * time.Second); got != 2.5 {
		t.Errorf("got %v, want 2.5", got)
	}
}

func TestAFailureCountsAsSlow(t *testing.T) {
	for _, c := range []struct {
		name     string
		before   func(g *Group, s, other *Server)
		took     time.Duration
		at       Moment
		want     time.Duration
		failures int
	}{
		{"as a second, where nobody has answered", func(*Group, *Server, *Server) {}, ms, 0, time.Second, 1},
		{"as long as it took", func(*Group, *Server, *Server) {}, 30 * time.Second, 0, 30 * time.Second, 1},
		{"as five times the others', of one that has not answered", func(g *Group, _, other *Server) { g.Answered(other, 5*ms, 0) }, ms, 0, 25 * ms, 1},
		{"as five times its own", func(g *Group, s, other *Server) { g.Answered(s, 5*ms, 0); g.Answered(other, 90*ms, 0) }, ms, 0, 25 * ms, 1},
		{"as more each time", func(g *Group, s, other *Server) {
			g.Answered(s, 5*ms, 0)
			g.Answered(other, 90*ms, 0)
			g.Failed(s, ms, 0)
		}, ms, 0, 125 * ms, 2},
		{"but as five times the slowest answer at most", func(g *Group, s, other *Server) {
			g.Answered(s, 5*ms, 0)
			g.Answered(other, 90*ms, 0)
			for range 100 {
				g.Failed(s, ms, 0)
			}
		}, ms, 0, 450 * ms, 101},
		{"of late", func(g *Group, s, other *Server) {
			g.Answered(other, 5000*ms, 0)
			g.Answered(s, 5*ms, 7)
			g.Answered(other, 6*ms, 7)
			g.Failed(s, ms, 7)
		}, ms, 7, 5 * max(6*ms, decayed(5000*ms, 7)), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g Group
			var s, other Server
			c.before(&g, &s, &other)
			g.Failed(&s, c.took, c.at)
			if got := s.Value(c.at); !near(got, c.want) || s.IsFailing() != (c.failures >= 3) {
				t.Errorf("%v, failing %v; want %v after %d failures", got, s.IsFailing(), c.want, c.failures)
			}
			if g.Answered(&s, ms, c.at); s.IsFailing() {
				t.Error("it has answered, and is still failing")
			}
		})
	}
}

func TestFailuresOfAllDoNotAddUp(t *testing.T) {
	var g Group
	servers := make([]Server, 4)
	for i := range servers {
		g.Answered(&servers[i], 5*ms, 0)
	}
	for i := range 10_000 {
		g.Failed(&servers[i%4], ms, Moment(i)/1000)
	}
	for i := range servers {
		if got := servers[i].Value(10); got > time.Second {
			t.Errorf("after an outage, server %d counts as taking %v", i, got)
		}
	}
}

func TestTheCheaperServerIsPreferred(t *testing.T) {
	g := Group{Decay: time.Second}
	asked := func() *Server {
		s := new(Server)
		s.Ask(0.2)
		s.Ask(0.9) // is not the first time
		return s
	}
	server := func(took time.Duration, failures int) *Server {
		s := new(Server)
		if took > 0 {
			s.peak.Show(took, 1)
		}
		s.failures.Store(int32(failures))
		return s
	}
	for _, c := range []struct {
		name               string
		better, worse      *Server
		inFlight, otherHas int
	}{
		{"the faster one", server(5*ms, 0), server(6*ms, 0), 0, 0},
		{"the faster one, with as many in flight", server(5*ms, 0), server(6*ms, 0), 7, 7},
		{"the one with fewer in flight", server(5*ms, 0), server(5*ms, 0), 1, 2},
		{"nine in flight are cheaper than one of ten times as slow", server(5*ms, 0), server(51*ms, 0), 9, 0},
		{"but eleven are not", server(50*ms, 0), server(5*ms, 0), 0, 10},
		{"one that was never measured", server(0, 0), server(5*ms, 0), 0, 0},
		{"not if it has more in flight", server(5*ms, 0), server(0, 0), 0, 1},
		{"of two that were never measured, the one with fewer in flight", server(0, 0), server(0, 0), 1, 2},
		{"one that was never measured, as soon as it is asked", server(500*ms, 0), asked(), 0, 1},
		{"and as long as its answer is not late", asked(), server(801*ms, 0), 3, 4},
		{"but not when it is", server(399*ms, 0), asked(), 5, 2},
		{"one that has been asked and has nothing in flight", asked(), server(5*ms, 0), 0, 0},
		{"one that fails fast does not gain by having few in flight", server(5*ms, 0), server(25*ms, 3), 100, 0},
		{"nor by failing first", server(0, 0), server(25*ms, 3), 100, 0},
		{"but is tried again when that is forgotten", server(4*ms, 3), server(5*ms, 0), 0, 0},
		{"two failures are not failing", server(25*ms, 2), server(5*ms, 0), 0, 5},
		{"of two that fail, the cheaper one", server(25*ms, 3), server(30*ms, 3), 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			better, worse := Choice{c.better, c.inFlight}, Choice{c.worse, c.otherHas}
			if !g.Prefers(better, worse, 1) || g.Prefers(worse, better, 1) {
				t.Errorf("%v and %v", g.Prefers(better, worse, 1), g.Prefers(worse, better, 1))
			}
		})
	}
}

func TestWhatTellsNothingIsForgotten(t *testing.T) {
	g, s, other := Group{Decay: time.Second}, new(Server), new(Server)
	s.Ask(0)
	g.Answered(other, 5*ms, 1)
	if g.Prefers(Choice{s, 1}, Choice{other, 1}, 1) {
		t.Error("its first answer is late, and it is preferred")
	}
	if g.Untold(s); !g.Prefers(Choice{s, 1}, Choice{other, 1}, 1) {
		t.Error("nothing is known of it, and it is not preferred")
	}
}

func TestRaisingTakesNothingAway(t *testing.T) {
	var p Peak
	p.Raise(50*ms, 0)
	p.Raise(5*ms, 0)
	if got := p.Value(0); !near(got, 50*ms) {
		t.Errorf("%v, want 50ms", got)
	}
	if p.Raise(60*ms, 0); !near(p.Value(0), 60*ms) {
		t.Errorf("%v, want 60ms", p.Value(0))
	}
}

// Of all that is shown at once, the largest is what remains.
func TestPeaksAreShownAtOnce(t *testing.T) {
	var p Peak
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(i)))
			for range 1000 {
				p.Raise(time.Duration(random.IntN(1000))*ms, 0)
			}
			p.Raise(time.Second+time.Duration(i)*ms, 0)
		})
	}
	all.Wait()
	if got := p.Value(0); !near(got, time.Second+7*ms) {
		t.Errorf("%v, want 1.007s", got)
	}
}

func BenchmarkPrefers(b *testing.B) {
	for _, inFlight := range []int{0, 3} {
		b.Run(fmt.Sprint("in flight=", inFlight), func(b *testing.B) {
			g := Group{Decay: time.Second}
			one, other := Choice{Server: new(Server)}, Choice{Server: new(Server), InFlight: inFlight}
			g.Answered(one.Server, 5*ms, 0)
			g.Answered(other.Server, 6*ms, 0)
			b.ReportAllocs()
			for b.Loop() {
				g.Prefers(one, other, 0)
			}
		})
	}
}

func BenchmarkAnswered(b *testing.B) {
	var g Group
	var s Server
	b.ReportAllocs()
	at := Moment(0)
	for b.Loop() {
		g.Answered(&s, time.Duration(5e6-1e6*float64(at)), at)
		at += 1e-6
	}
}
