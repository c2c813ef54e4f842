package dashboard

// extraKind is something that is counted for a route rather than for a group.
type extraKind int

const (
	fallbacks extraKind = iota
	retries
	extraKinds
)

// extras is the history of what is counted for a route.
type extras struct {
	last    [extraKinds]uint64
	second  int64 // of the latest sample
	began   int64 // the second before the first sample
	samples *[remembered][extraKinds]uint32
}

func extrasOf(r *Route) [extraKinds]uint64 { return [extraKinds]uint64{r.Fallbacks, r.Retries} }

func newExtras(r *Route, second int64) *extras {
	return &extras{last: extrasOf(r), second: second, began: second}
}

// add is track.add for a route.
func (e *extras) add(r *Route, second int64) {
	now, passed := extrasOf(r), second-e.second
	if passed > remembered {
		*e = *newExtras(r, second)
		return
	}
	var grown [extraKinds]uint64
	if now[fallbacks] >= e.last[fallbacks] && now[retries] >= e.last[retries] {
		for i := range now {
			grown[i] = now[i] - e.last[i]
		}
	}
	e.last, e.second = now, second
	if e.samples == nil {
		if grown == [extraKinds]uint64{} {
			return
		}
		e.samples = new([remembered][extraKinds]uint32)
	}
	for s := second - passed + 1; s <= second; s++ {
		e.samples[s%remembered] = [extraKinds]uint32{}
	}
	parts := max(passed, 1)
	for i := range parts {
		at := &e.samples[(second-parts+1+i)%remembered]
		for k, all := range grown {
			at[k] = narrow(uint64(at[k]) + part(all, i, parts))
		}
	}
}

// rate returns how many there were per second in the last seconds.
func (e *extras) rate(kind extraKind) float64 {
	seconds := min(e.second-e.began, rateRange)
	if e.samples == nil || seconds == 0 {
		return 0
	}
	var all uint64
	for s := e.second - seconds + 1; s <= e.second; s++ {
		all += uint64(e.samples[s%remembered][kind])
	}
	return float64(all) / float64(seconds)
}

func (e *extras) line(kind extraKind) []float64 {
	return perSecond(fold(e.began, e.second, func(s int64) float64 {
		if e.samples == nil {
			return 0
		}
		return float64(e.samples[s%remembered][kind])
	}, sum))
}
