package proxyos

import (
	"slices"
	"sync"
	"time"
)

// overrideState is the override of a named route in this process, and what is known of it here
// besides what is stored. The configs that have the route share it during a reload, and each
// has its own opinion on whether the override holds.
type overrideState struct {
	mu        sync.Mutex
	latest    *override // in force where it holds, or nil
	splitters []*splitter
	edited    overrideKey // the override that an edited config has ended here
	held      heldOverride
	newest    time.Time            // when the latest override was set, of all that were seen
	told      map[fate]overrideKey // what is logged
}

// heldOverride is an override that was in force here against a configured split.
type heldOverride struct {
	key        overrideKey
	configured float64
}

// fate is what becomes of an override.
type fate string

const (
	isEdited  fate = "edited"
	isUnclear fate = "unclear"
	isOver    fate = "over"
)

// tells tells whether what becomes of an override is not logged yet.
func (s *overrideState) tells(o *override, what fate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = make(map[fate]overrideKey)
	}
	told := s.told[what] == o.key()
	s.told[what] = o.key()
	return !told
}

// join takes on a config's splitter. It must leave.
func (s *overrideState) join(splitter *splitter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.splitters = append(s.splitters, splitter)
	splitter.follow(s.latest, time.Now())
}

func (s *overrideState) leave(left *splitter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.splitters = slices.DeleteFunc(s.splitters, func(other *splitter) bool { return other == left })
}

// see notes an override that is stored. settled is the splitter of the config that runs, if that
// knows what had been set before it was loaded; else nil. Then an override that is newer than all
// others was set since, and whatever is stored about this instance, it is meant for it as it is.
func (s *overrideState) see(o *override, settled *splitter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o == nil || !o.SetAt.After(s.newest) {
		return
	}
	s.newest = o.SetAt
	if settled != nil {
		s.held = heldOverride{o.key(), settled.configured.percent}
	}
}

// put gives all configs an override, or none.
func (s *overrideState) put(o *override) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = o
	for _, splitter := range s.splitters {
		splitter.follow(o, time.Now())
	}
}

// judge decides what an override means for a config's splitter.
func (s *overrideState) judge(splitter *splitter, o *override, now time.Time) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	return splitter.judge(o, now)
}

// review decides again for the running config's splitter, and remembers that.
func (s *overrideState) review(splitter *splitter, now time.Time) (*override, verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.latest
	if o == nil {
		return nil, verdict{}
	}
	v := splitter.judge(o, now)
	if v.edited {
		s.edited = o.key()
	}
	if v.holds && !v.unclear {
		s.held = heldOverride{o.key(), splitter.configured.percent}
	}
	for _, twin := range s.splitters { // a site with two listeners has the route twice
		if twin.configured == splitter.configured {
			twin.rule(o, v.holds)
		}
	}
	return o, v
}

// follow puts an override in force if it holds. What was decided stays while only the marks in
// it change: a config that still serves while the next one has an edited split is not
// disturbed. The state's lock must be held.
func (s *splitter) follow(o *override, now time.Time) {
	switch {
	case o == nil:
		s.rule(nil, false)
	case s.ruled.key() == o.key():
		s.rule(o, s.override.Load() != nil)
	default:
		s.rule(o, s.judge(o, now).holds)
	}
}

func (s *splitter) rule(o *override, holds bool) {
	s.ruled = o
	if !holds {
		o = nil
	}
	s.override.Store(o)
}

// judge decides what an override means here. What this process has seen counts before what
// is stored: the storage may not have been told yet. The state's lock must be held.
func (s *splitter) judge(o *override, now time.Time) verdict {
	v := o.judge(s.instance, s.configured.percent, now)
	if _, marked := o.Rolled[s.instance]; marked {
		return v
	}
	key, held := o.key(), s.state.held
	if s.state.edited == key || held.key == key && held.configured != s.configured.percent {
		return verdict{edited: true}
	}
	if held.key != key {
		return v
	}
	known, ok := o.Configured[s.instance]
	return verdict{holds: true, joins: ok && known != s.configured.percent || !ok && len(o.Configured) < maxKnown}
}
