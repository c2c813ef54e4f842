package release

// Tally is what one instance counts in a round. It must be shown about once a second what has been
// counted since the time before. It is not safe for concurrent use.
type Tally struct {
	// Plan.MaxErrors: the fraction of its requests above which production fails, too.
	MaxErrors float64

	counted Groups
	open    Groups // the latest requests, of which the share is still measured
	guard   guard
}

// measured is how many requests of each group it takes to measure a share. With fewer, what fails
// would raise the share that it is compared with. With more, the share of less busy times would
// count while all fails.
const measured = 20

// Tick takes the requests, those that failed, and those that were timed and slow since the last
// tick. Alone tells that production gets no requests, since the share is 100 %.
func (t *Tally) Tick(since Groups, alone bool) {
	t.counted.Staging = t.counted.Staging.Add(t.guard.tick(since, alone, t.MaxErrors))
	t.open.Staging = t.open.Staging.Add(since.Staging)
	t.open.Production = t.open.Production.Add(since.Production)
	if min(t.open.Staging.Requests, t.open.Production.Requests) >= measured {
		t.counted, t.open = t.Groups(), Groups{}
	}
}

// Groups returns what was counted in the round.
func (t *Tally) Groups() Groups {
	open := t.open
	s, p := &open.Staging, &open.Production
	open.FailedShare = float64(s.Failed+p.Failed) * ratio(s.Requests, s.Requests+p.Requests)
	open.SlowShare = float64(s.Slow+p.Slow) * ratio(s.Timed, s.Timed+p.Timed)
	return t.counted.Add(open)
}

// ProductionFails tells whether production fails more than max_errors of late: in the last tick in
// which it had requests, or in as many as it takes for 20 of them. While it does, staging's requests
// do not count for max_errors.
func (t *Tally) ProductionFails() bool { return t.guard.failing }

// Begin begins to count for another round.
func (t *Tally) Begin() { t.counted, t.open = Groups{}, Groups{} }

// ratio returns a part of a whole; 0 of nothing.
func ratio(part, whole int64) float64 { return float64(part) / float64(max(whole, 1)) }
