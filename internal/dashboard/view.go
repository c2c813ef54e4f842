package dashboard

import "time"

// view is a page without its frame: what is on it, and its cells in the order in which they were made.
type view struct {
	told

	Alarm, AlarmHidden cell // why there is nothing new, and whether
	At                 cell // when the snapshot was taken
	Zone               string

	Overview *overviewView // one of these two is there, unless nothing is known of routes
	Route    *routeView
	Missing  string // the route that is asked for and is not there
}

// told is what those who look at a page are told: its structure, and its cells.
type told struct {
	Structure string
	Cells     []cell
}

// topic is a page that somebody may look at.
type topic struct {
	route    string // its ref; empty for the overview
	controls bool
}

// state is what is known now.
type state struct {
	snapshot *Snapshot // the latest; nil if there was none
	refs     []string  // of its routes
	at       time.Time // of the snapshot
	err      error     // why there is no newer one
	now      time.Time // when this became known
}

// newView makes a view of what is known. It is the same for all who look until something else is known.
func newView(t topic, s *state, history *History, cache *pageCache) *view {
	now := s.now
	cache.refresh(history.pointsAge())
	b := &builder{now: now, history: history, cache: cache, cells: make([]cell, 0, cache.cells)}
	b.fixIf(t.controls)
	v := &view{At: b.cell("", "at", clockText(s.at, now)), Zone: b.fix(now.Local().Format("UTC-07:00"))}
	alarm := ""
	if s.err != nil {
		alarm = long(s.err.Error())
	}
	v.Alarm, v.AlarmHidden = b.cell("", "alarm", alarm), b.hidden("", "alarm.hidden", s.err != nil)
	switch {
	case s.snapshot == nil:
		b.fix("nothing is known")
	case t.route == "":
		v.Overview = b.overview(s)
	default:
		v.Missing = b.fix(short(t.route))
		for i, ref := range s.refs {
			if ref == t.route {
				v.Route, v.Missing = b.route(ref, &s.snapshot.Routes[i], s.snapshot.Changes, t.controls), ""
				break
			}
		}
	}
	v.told = told{b.structure(), b.cells}
	cache.cells = len(b.cells)
	return v
}
