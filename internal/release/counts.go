package release

import "fmt"

// Counts are requests of one group that the split decided about, and that have been answered. The
// counts of several instances add up.
type Counts struct {
	Requests int64 `json:"requests,omitempty"`
	Failed   int64 `json:"failed,omitempty"` // of the requests
	Timed    int64 `json:"timed,omitempty"`  // of the requests, those that may be slow: not streams and WebSockets
	Slow     int64 `json:"slow,omitempty"`   // of those that were timed

	// Of staging's requests, those that count for max_errors, as a Tally finds out.
	Judged       int64 `json:"judged,omitempty"`
	JudgedFailed int64 `json:"judged_failed,omitempty"` // of those that were judged
}

// Add returns the sum of two counts.
func (c Counts) Add(other Counts) Counts {
	return Counts{
		Requests:     c.Requests + other.Requests,
		Failed:       c.Failed + other.Failed,
		Timed:        c.Timed + other.Timed,
		Slow:         c.Slow + other.Slow,
		Judged:       c.Judged + other.Judged,
		JudgedFailed: c.JudgedFailed + other.JudgedFailed,
	}
}

// Sub returns what c has more than other: of what was counted since the start, and what was counted
// up to the last tick, it is what was counted since.
func (c Counts) Sub(other Counts) Counts {
	return c.Add(Counts{-other.Requests, -other.Failed, -other.Timed, -other.Slow, -other.Judged, -other.JudgedFailed})
}

// Groups are the counts of both groups. Those of several instances add up.
type Groups struct {
	Staging    Counts `json:"staging,omitzero"`
	Production Counts `json:"production,omitzero"`

	// For each request of either group that failed, or that was slow, which fraction of the requests
	// was staging's about that time. A Tally measures it.
	FailedShare float64 `json:"failed_share,omitempty"`
	SlowShare   float64 `json:"slow_share,omitempty"`
}

// Add returns the sum of the counts.
func (g Groups) Add(other Groups) Groups {
	return Groups{
		Staging:     g.Staging.Add(other.Staging),
		Production:  g.Production.Add(other.Production),
		FailedShare: g.FailedShare + other.FailedShare,
		SlowShare:   g.SlowShare + other.SlowShare,
	}
}

// Check rejects counts that nobody can have counted.
func (g Groups) Check() error {
	for _, c := range []Counts{g.Staging, g.Production} {
		if min(c.Requests, c.Failed, c.Timed, c.Slow, c.Judged, c.JudgedFailed) < 0 || c.Failed > c.Requests || c.Slow > c.Timed || c.JudgedFailed > c.Judged {
			return fmt.Errorf("%+v are no counts: they are negative, or a part is more than its whole", c)
		}
	}
	if !(g.FailedShare >= 0 && g.SlowShare >= 0) {
		return fmt.Errorf("%v and %v are no shares: they are negative", g.FailedShare, g.SlowShare)
	}
	return nil
}
