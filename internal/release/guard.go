package release

const (
	// guardRequests is how many requests of production a guard looks back, and waits for, at least.
	guardRequests = 20

	// guardTicks is after how many ticks without a request of production a guard knows nothing of it.
	guardTicks = 600
)

// guard keeps what is wrong with both groups from counting against staging alone: if the database is
// gone, both fail more than max_errors, and going back helps nobody. It lets staging's requests count
// for max_errors only if production did not fail in the same tick, nor in its next 20 requests:
// staging may be the first to show it, most of all if it gets most of the requests.
type guard struct {
	window  [guardRequests]Counts // the ticks that production is judged by, the latest last; each has a request
	idle    int                   // ticks without a request of production
	held    Groups                // what waits for production to be seen
	failing bool
}

// tick takes what was counted in a tick, and returns which of staging's requests count for max_errors
// now. Production fails if more than a fraction of its requests do, most; never with 0. Alone tells
// that production gets no requests: then it does not fail, and all requests count.
func (g *guard) tick(since Groups, alone bool, most float64) Counts {
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
		g.failing = fails(g.window[guardRequests-1], most) || fails(g.ofLate(), most)
	}

	held := g.held
	g.held = since
	switch {
	case g.failing:
		held, g.held = Groups{}, Groups{}
	case alone:
		held, g.held = held.Add(since), Groups{}
	case held.Production.Requests+production.Requests < guardRequests:
		held, g.held = Groups{}, held.Add(since)
	}
	return Counts{Judged: held.Staging.Requests, JudgedFailed: held.Staging.Failed}
}

// ofLate returns the counts of the latest ticks, of as few as have the requests that it takes.
func (g *guard) ofLate() Counts {
	var sum Counts
	for i := guardRequests - 1; i >= 0 && sum.Requests < guardRequests; i-- {
		sum = sum.Add(g.window[i])
	}
	return sum
}

// fails tells whether more than a fraction of the requests failed.
func fails(c Counts, most float64) bool {
	return most > 0 && float64(c.Failed) > most*float64(c.Requests)
}
