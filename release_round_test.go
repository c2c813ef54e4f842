package proxyos

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

func TestARoundCountsEachGroupsRequestsApart(t *testing.T) {
	pace := new(releasePace)
	pace.threshold.Store(int64(time.Second))
	r := newReleaseRound(7, pace)
	r.count(true, false, time.Millisecond)
	r.count(true, true, 2*time.Second)
	r.count(true, true, notTimed)
	r.count(false, false, time.Second) // no longer than the threshold
	r.count(false, true, time.Second+1)
	want := release.Groups{
		Staging:    release.Counts{Requests: 3, Failed: 2, Timed: 2, Slow: 1},
		Production: release.Counts{Requests: 2, Failed: 1, Timed: 2, Slow: 1},
	}
	if got := r.total(); got != want || r.from != 7 {
		t.Errorf("of version %d: %+v, want %+v", r.from, got, want)
	}
}

func TestNothingIsTimedBeforeProductionsPaceIsKnown(t *testing.T) {
	pace := new(releasePace)
	r := newReleaseRound(1, pace)
	turn := func(requests int, took time.Duration) {
		for range requests {
			r.count(false, false, took)
			r.count(true, false, time.Minute) // which says nothing of production's pace
		}
		pace.turn()
	}
	turn(pacedBy-1, 100*time.Millisecond)
	if got := r.total(); got.Production.Timed+got.Staging.Timed+pace.threshold.Load() != 0 {
		t.Fatalf("with %d requests: %+v, threshold %d", pacedBy-1, got, pace.threshold.Load())
	}
	within := func(what string, from, to time.Duration) {
		t.Helper()
		if got := time.Duration(pace.threshold.Load()); got < from || got > to {
			t.Errorf("%s: the threshold is %s, want %s to %s", what, got, from, to)
		}
	}
	turn(1, 100*time.Millisecond)
	within("the interval goes on until there are enough", 100*time.Millisecond, 113*time.Millisecond)
	turn(3, time.Hour)
	within("with too few, the old one stays", 100*time.Millisecond, 113*time.Millisecond)
	if got := r.total(); got.Production.Timed != 3 || got.Production.Slow != 3 || got.Staging.Timed != 3 || got.Staging.Slow != 3 {
		t.Errorf("of 3 slow requests of each group: %+v", got)
	}
	turn(97, time.Second)
	within("95 of 100 took no longer", time.Second, 1125*time.Millisecond)
	turn(pacedBy, 10*time.Millisecond)
	within("what was before is forgotten", 10*time.Millisecond, 11300*time.Microsecond)
}

func TestNoPartOfARoundIsEverMoreThanItsWhole(t *testing.T) {
	pace := new(releasePace)
	pace.threshold.Store(1)
	r := newReleaseRound(1, pace)
	const workers, each = 4, 20_000
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for range each {
				r.count(worker%2 == 0, true, time.Second)
			}
		})
	}
	done := make(chan struct{})
	go func() { wait.Wait(); close(done) }()
	for isOver := false; !isOver; {
		select {
		case <-done:
			isOver = true
		default:
		}
		got := r.total()
		for _, c := range []release.Counts{got.Staging, got.Production} {
			if c.Slow > c.Timed || c.Timed > c.Requests || c.Failed > c.Requests {
				t.Fatalf("%+v", c)
			}
			if isOver && (c.Requests != workers/2*each || c.Slow != c.Requests || c.Failed != c.Requests) {
				t.Errorf("in the end: %+v", c)
			}
		}
	}
}

func BenchmarkReleaseRound(b *testing.B) {
	pace := new(releasePace)
	pace.threshold.Store(int64(time.Second))
	r := newReleaseRound(1, pace)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.count(false, false, time.Millisecond)
		}
	})
}

// A client that leaves is counted only if production would long have answered it.
func TestAClientThatLeavesCountsAsSlow(t *testing.T) {
	left, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		took   time.Duration
		body   bool // was at fault
		counts release.Counts
	}{
		{time.Millisecond, false, release.Counts{}},
		{time.Second, false, release.Counts{Requests: 1, Timed: 1, Slow: 1}},
		{time.Second, true, release.Counts{}},
	} {
		round := newReleaseRound(1, new(releasePace))
		round.pace.threshold.Store(int64(100 * time.Millisecond))
		var r reckoning
		r.begin(decision{round: round, toStaging: true}, "GET")
		r.excused = test.body
		r.end(left, 0, false, test.took)
		if got := round.total().Staging; got != test.counts || round.staging.inFlight.Load() != 0 {
			t.Errorf("%+v: counted are %+v, with %d in flight", test, got, round.staging.inFlight.Load())
		}
	}
}
