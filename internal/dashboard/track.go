package dashboard

// track is the history of one group.
type track struct {
	last    counts
	second  int64 // of the latest sample
	began   int64 // the second before the first sample
	counted int64 // likewise, since the counts last began again
	ring    *ring // nil before there was a request
}

func newTrack(g *Group, second int64) *track {
	return &track{last: *countsOf(g), second: second, began: second, counted: second}
}

// add takes in what a group tells in a second. Seconds that were missed share what was counted in
// them. Counts that have gone back, such as after a restart, begin again.
func (t *track) add(g *Group, second int64) {
	now, passed := countsOf(g), second-t.second
	grown, ok := now.since(&t.last)
	t.last = *now
	if passed > remembered {
		*t = track{last: *now, second: second, began: second, counted: second}
		return
	}
	if !ok {
		grown = new(counts)
	}
	if t.ring == nil && (!grown.isZero() || g.InFlight > 0) {
		t.ring = new(ring)
	}
	t.second = second
	if !ok {
		t.counted = second
	}
	if t.ring != nil {
		t.fill(grown, passed, narrow(uint64(max(g.InFlight, 0))))
	}
}

// fill writes the seconds that have passed since the last sample, or adds to that one.
func (t *track) fill(grown *counts, passed int64, inFlight uint32) {
	parts := max(passed, 1)
	first := t.second - parts + 1
	for s := first; s <= t.second; s++ {
		if passed > 0 {
			t.ring.clear(s)
		}
		t.ring.add(s, grown.part(s-first, parts))
		at := &t.ring.samples[s%remembered]
		at.inFlight = inFlight
		window := t.ring.window(s, s-t.counted)
		for i, q := range quantilesShown {
			d, _ := window.quantile(q)
			at.quantiles[i] = microseconds(d)
		}
	}
}

// now returns the numbers of the last seconds.
func (t *track) now() numbers {
	n := numbers{seconds: min(t.second-t.counted, rateRange)}
	if t.ring == nil {
		return n
	}
	for s := t.second - n.seconds + 1; s <= t.second; s++ {
		at := &t.ring.samples[s%remembered]
		n.requests += uint64(at.requests)
		n.errors += uint64(at.errors)
	}
	n.durations = t.ring.window(t.second, t.second-t.counted)
	return n
}

// line returns one value for each ten seconds that are over, the latest last.
func (t *track) line(of func(*sample) uint32, merge func(a, b float64) float64) []float64 {
	return fold(t.began, t.second, func(s int64) float64 {
		if t.ring == nil {
			return 0
		}
		return float64(of(&t.ring.samples[s%remembered]))
	}, merge)
}

const (
	foldSeconds = 10                       // that become one point
	lineLength  = remembered / foldSeconds // points of a line
)

// fold merges the values of the seconds after began, up to second, ten at a time. Which ten go
// together does not change as time goes on, so a line moves and keeps its form.
func fold(began, second int64, at func(int64) float64, merge func(a, b float64) float64) []float64 {
	end := (second + 1) / foldSeconds
	begin := max((began+1)/foldSeconds, end-lineLength+1, 0)
	var line []float64
	for b := begin; b < end; b++ {
		value := at(b * foldSeconds)
		for s := b*foldSeconds + 1; s < (b+1)*foldSeconds; s++ {
			value = merge(value, at(s))
		}
		line = append(line, value)
	}
	return line
}

// numbers is how a group, or several, did in the last seconds.
type numbers struct {
	seconds          int64  // that requests and errors are of; 0 if nothing is known yet
	requests, errors uint64 // in them
	durations        buckets
}

// and returns the numbers of both.
func (n numbers) and(other numbers) numbers {
	n.seconds = max(n.seconds, other.seconds)
	n.requests += other.requests
	n.errors += other.errors
	n.durations.add(&other.durations)
	return n
}

// rate returns the requests per second, and whether it is known.
func (n numbers) rate() (float64, bool) {
	if n.seconds == 0 {
		return 0, false
	}
	return float64(n.requests) / float64(n.seconds), true
}

// errorShare returns the percentage of requests that were errors, and whether there were requests.
func (n numbers) errorShare() (float64, bool) {
	if n.requests == 0 {
		return 0, false
	}
	return 100 * float64(n.errors) / float64(n.requests), true
}
