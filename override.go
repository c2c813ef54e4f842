package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// override is a traffic split that is set while the route runs. Instances that have the
// configuration against which it was set have it in force. One whose configured split is edited
// goes by its configuration from then on, for good. It never changes: a change is another one.
type override struct {
	TrafficSplit float64
	Against      float64 // the configured split of the instance on which it was set
	SetAt        time.Time
	SetBy        string
	Configured   map[string]float64 // the configured splits of the instances that are known to have it in force, by ID
	Rolled       map[string]rolled  // the instances whose configured split was edited since, by ID

	extra fields
	share share // the traffic split
}

// rolled says when an instance's configured split was edited, and what it is now.
type rolled struct {
	At         time.Time
	Configured float64

	extra fields
}

// overrideKey tells overrides apart. Marks of instances leave it as it is.
type overrideKey struct {
	isSet   bool
	percent float64
	at      int64
	by      string
}

// rolloutTime is how long after the first instance was rolled out one that cannot be told
// apart counts as not rolled out yet.
const rolloutTime = time.Hour

// maxKnown is how many instances an override remembers at most. Those that get a new ID at
// each start would grow it without end.
const maxKnown = 500

func newOverride(percent, against float64, by string) *override {
	return &override{TrafficSplit: percent, Against: against, SetAt: time.Now().UTC().Round(0), SetBy: by, share: newShare(percent)}
}

func (o *override) key() overrideKey {
	if o == nil {
		return overrideKey{}
	}
	return overrideKey{true, o.TrafficSplit, o.SetAt.UnixNano(), o.SetBy}
}

// verdict is what an override means for an instance.
type verdict struct {
	holds   bool
	edited  bool // the instance's configured split is edited, and it is not marked as rolled out yet
	joins   bool // the instance is yet to be written down as one that has it in force
	unclear bool // whether the instance is rolled out cannot be known
}

// judge decides what the override means for an instance with a configured split.
func (o *override) judge(instance string, configured float64, now time.Time) verdict {
	if mark, ok := o.Rolled[instance]; ok {
		return verdict{edited: mark.Configured != configured} // once more
	}
	if known, ok := o.Configured[instance]; ok {
		return verdict{holds: known == configured, edited: known != configured}
	}
	replaced := configured == o.Against
	for _, known := range o.Configured {
		replaced = replaced || configured == known
	}
	if !replaced {
		return verdict{edited: true}
	}
	if first, ok := o.firstRolled(); ok {
		unclear := now.Before(first.Add(rolloutTime)) && !o.isRolledOut()
		return verdict{holds: unclear, unclear: unclear}
	}
	return verdict{holds: true, joins: len(o.Configured) < maxKnown}
}

// firstRolled returns when the first instance was rolled out, if any was. A clock that goes
// wrong does not make that earlier than the override.
func (o *override) firstRolled() (first time.Time, ok bool) {
	for _, mark := range o.Rolled {
		at := mark.At
		if at.Before(o.SetAt) {
			at = o.SetAt
		}
		if !ok || at.Before(first) {
			first, ok = at, true
		}
	}
	return first, ok
}

// isRolledOut tells whether all instances are rolled out that had the override in force.
func (o *override) isRolledOut() bool {
	for instance := range o.Configured {
		if _, ok := o.Rolled[instance]; !ok {
			return false
		}
	}
	return len(o.Configured) > 0
}

// replacedBy returns the override that an instance sets in place of this one, if any. It holds
// on all instances, rolled out or not: a change in the middle of a rollout is meant for all.
// others is what the other instances last said of themselves.
func (o *override) replacedBy(percent, configured float64, instance, by string, others []configuredSplit) *override {
	next := newOverride(percent, configured, by)
	next.Configured = make(map[string]float64)
	if o != nil {
		maps.Copy(next.Configured, o.Configured)
		for id, r := range o.Rolled {
			next.Configured[id] = r.Configured
		}
		next.extra = o.extra
		if !next.SetAt.After(o.SetAt) && o.SetAt.Sub(next.SetAt) < time.Minute {
			next.SetAt = o.SetAt.Add(1) // two changes are told apart by their time
		}
	}
	for _, other := range others {
		if o == nil || !o.Rolled[other.instance].At.After(other.heard) {
			next.Configured[other.instance] = other.percent
		}
	}
	if len(next.Configured) >= maxKnown { // those that are not heard of are gone
		clear(next.Configured)
		for _, other := range others {
			next.Configured[other.instance] = other.percent
		}
	}
	next.Configured[instance] = configured
	return next
}

// withRolled returns the override with the mark that an instance goes by its configuration.
func (o *override) withRolled(instance string, configured float64, now time.Time) *override {
	next := *o
	next.Rolled = maps.Clone(o.Rolled)
	if next.Rolled == nil {
		next.Rolled = make(map[string]rolled)
	}
	mark, ok := next.Rolled[instance]
	if mark.Configured = configured; !ok {
		mark.At = now.UTC().Round(0)
	}
	next.Rolled[instance] = mark
	forgetOldest(next.Rolled, func(mark rolled) time.Time { return mark.At })
	return &next
}

// forgetOldest leaves the newest maxKnown marks of instances.
func forgetOldest[M any](marks map[string]M, at func(M) time.Time) {
	for len(marks) > maxKnown {
		oldest, first := "", time.Time{}
		for id, mark := range marks {
			if oldest == "" || at(mark).Before(first) {
				oldest, first = id, at(mark)
			}
		}
		delete(marks, oldest)
	}
}

// withInstance returns the override with an instance that has it in force.
func (o *override) withInstance(instance string, configured float64) *override {
	next := *o
	next.Configured = maps.Clone(o.Configured)
	if next.Configured == nil {
		next.Configured = make(map[string]float64)
	}
	next.Configured[instance] = configured
	return &next
}

func (o *override) check() error {
	err := errors.Join(checkPercent(o.TrafficSplit), checkPercent(o.Against))
	for id, configured := range o.Configured {
		if checkPercent(configured) != nil {
			err = errors.Join(err, fmt.Errorf("configured on %q: %w", id, checkPercent(configured)))
		}
	}
	for id, r := range o.Rolled {
		if checkPercent(r.Configured) != nil {
			err = errors.Join(err, fmt.Errorf("rolled out on %q: %w", id, checkPercent(r.Configured)))
		}
	}
	if err != nil {
		return fmt.Errorf("the split %w", err)
	}
	return nil
}

// conflict says that the override, which may be nil, is not the one that was known.
func (o *override) conflict() error {
	if o == nil {
		return new(conflictError)
	}
	return &conflictError{percentText(o.TrafficSplit), o.SetAt, o.SetBy}
}

// UnmarshalJSON decodes an override.
func (o *override) UnmarshalJSON(data []byte) error {
	var all fields
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	percent := -1.0 // without one it is no override
	err := errors.Join(all.take("traffic_split", &percent), all.take("against", &o.Against), all.take("set_at", &o.SetAt),
		all.take("set_by", &o.SetBy), all.take("configured", &o.Configured), all.take("rolled", &o.Rolled))
	if err == nil && percent < 0 {
		err = errors.New("it has no traffic_split from 0 to 100")
	}
	o.TrafficSplit, o.extra, o.share = percent, all, newShare(percent)
	return err
}

// MarshalJSON encodes an override.
func (o *override) MarshalJSON() ([]byte, error) {
	known := map[string]any{"traffic_split": o.TrafficSplit, "against": o.Against, "set_at": o.SetAt}
	if o.SetBy != "" {
		known["set_by"] = o.SetBy
	}
	if len(o.Configured) > 0 {
		known["configured"] = o.Configured
	}
	if len(o.Rolled) > 0 {
		known["rolled"] = o.Rolled
	}
	return o.extra.encodeWith(known)
}

// UnmarshalJSON decodes the mark.
func (r *rolled) UnmarshalJSON(data []byte) error {
	var all fields
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	r.extra = all
	return errors.Join(all.take("at", &r.At), all.take("configured", &r.Configured))
}

// MarshalJSON encodes the mark.
func (r rolled) MarshalJSON() ([]byte, error) {
	return r.extra.encodeWith(map[string]any{"at": r.At, "configured": r.Configured})
}

// Interface guards
var (
	_ json.Unmarshaler = (*override)(nil)
	_ json.Marshaler   = (*override)(nil)
	_ json.Unmarshaler = (*rolled)(nil)
	_ json.Marshaler   = rolled{}
)
