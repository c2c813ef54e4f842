package proxyos

import (
	"sync"
	"sync/atomic"
	"time"
)

// ruling is whether an override holds for a route of a config. It stays while the override
// does: a config that still serves, while the next one has an edited split, is not disturbed.
type ruling struct {
	of    *override
	holds bool
}

// overridePast is what this process knows about a route's overrides besides what is stored.
type overridePast struct {
	edited atomic.Pointer[overrideKey] // the override that an edited config has ended here
	held   atomic.Pointer[heldOverride]

	mu   sync.Mutex
	told map[fate]overrideKey // what is logged
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
func (p *overridePast) tells(o *override, what fate) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told == nil {
		p.told = make(map[fate]overrideKey)
	}
	key := o.key()
	told := p.told[what] == key
	p.told[what] = key
	return !told
}

// holds tells whether an override holds. Usually that is decided.
func (s *splitter) holds(o *override) bool {
	if d := s.ruled.Load(); d != nil && d.of == o {
		return d.holds
	}
	return s.decide(o)
}

// decide decides about an override that has just come: as before, if only marks in it are new.
func (s *splitter) decide(o *override) bool {
	before := s.ruled.Load()
	d := &ruling{of: o}
	if before != nil && before.of.key() == o.key() {
		d.holds = before.holds
	} else {
		d.holds = s.judge(o, time.Now()).holds
	}
	s.ruled.CompareAndSwap(before, d) // unless another request or a review has just decided
	return d.holds
}

// judge decides what an override means here. What this process has seen counts before what
// is stored: the storage may not have been told yet.
func (s *splitter) judge(o *override, now time.Time) verdict {
	v := o.judge(s.instance, s.configured.percent, now)
	if _, marked := o.Rolled[s.instance]; marked {
		return v
	}
	key, held := o.key(), s.past.held.Load()
	if edited := s.past.edited.Load(); edited != nil && *edited == key {
		return verdict{edited: true}
	}
	if held == nil || held.key != key {
		return v
	}
	if held.configured != s.configured.percent {
		return verdict{edited: true}
	}
	_, known := o.Configured[s.instance]
	return verdict{holds: true, joins: !known && len(o.Configured) < maxKnown}
}

// review decides again, for the running config, and remembers what it decides.
func (s *splitter) review(o *override, now time.Time) verdict {
	v := s.judge(o, now)
	key := o.key()
	if v.edited {
		s.past.edited.Store(&key)
	}
	if v.holds && !v.unclear {
		s.past.held.Store(&heldOverride{key, s.configured.percent})
	}
	s.ruled.Store(&ruling{o, v.holds})
	return v
}
