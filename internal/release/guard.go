package release

const (
	// guardRequests is how many requests of production a Guard looks back at least, in order to
	// tell whether it fails.
	guardRequests = 20

	// guardTicks is after how many ticks without a request of production a Guard knows nothing of it.
	guardTicks = 600
)

// Guard keeps what is wrong with both groups from counting against staging alone: if the database
// is gone, both fail more than max_errors, and going back helps nobody. Each instance has one, and
// shows it about once a second what it has counted since the time before. It lets staging's requests
// count for max_errors only if production did not fail then, nor when it was next seen: staging may
// have been the first to notice. A Guard that has seen nothing lets requests through.
type Guard struct {
	// The fraction of its requests above which production fails. With 0, it never does.
	MaxErrors float64

	window  [guardRequests]Counts // the ticks that production is judged by, the latest last; each has a request
	idle    int                   // ticks without a request of production
	held    Counts                // of staging, until production is seen again
	failing bool
}

// Tick takes what has been counted since the last tick, and returns which of staging's requests
// count for max_errors now. Alone tells that production gets no requests, since the share is 100 %:
// then it does not fail, and all requests count.
func (g *Guard) Tick(since Groups, alone bool) (judged, failed int64) {
	production := since.Production
	if production.Requests > 0 {
		copy(g.window[:], g.window[1:])
		g.window[guardRequests-1], g.idle = production, 0
	} else if g.idle++; g.idle >= guardTicks {
		alone = true
	}
	if alone {
		g.window, g.failing = [guardRequests]Counts{}, false
	} else {
		g.failing = g.fails(g.window[guardRequests-1]) || g.fails(g.ofLate())
	}

	free := g.held
	switch {
	case g.failing:
		free, g.held = Counts{}, Counts{}
	case alone:
		free, g.held = free.Add(since.Staging), Counts{}
	case production.Requests == 0:
		free, g.held = Counts{}, free.Add(since.Staging)
	default:
		g.held = since.Staging
	}
	return free.Requests, free.Failed
}

// ProductionFails tells whether production fails more than max_errors of late: in the last tick in
// which it had requests, or in as many as it takes for 20 of them.
func (g *Guard) ProductionFails() bool { return g.failing }

func (g *Guard) fails(c Counts) bool {
	return g.MaxErrors > 0 && float64(c.Failed) > g.MaxErrors*float64(c.Requests)
}

// ofLate returns the counts of the latest ticks, of as few as have the requests that it takes.
func (g *Guard) ofLate() Counts {
	var sum Counts
	for i := guardRequests - 1; i >= 0 && sum.Requests < guardRequests; i-- {
		sum = sum.Add(g.window[i])
	}
	return sum
}
