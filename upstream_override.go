package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// The states that can be set for an upstream.
const (
	stateDrain = "drain" // it gets no new requests
	stateReady = "ready" // as configured
)

// upstreamOverride is what is set at run time for an upstream of a route. It holds on instances
// whose configuration of the upstream is the one against which it was set. An instance on which
// that is edited goes by its configuration from then on, for good. It never changes: a change is
// another one.
type upstreamOverride struct {
	Drained bool
	Weight  *int   // nil: as configured
	Against string // what the instance on which it was set had configured; see route.configured
	SetAt   time.Time
	SetBy   string
	Rolled  map[string]time.Time // when the configuration was edited, by the ID of the instance

	extra fields
}

// upstreamOverrides are those of a route, by dial address.
type upstreamOverrides map[string]*upstreamOverride

// holds tells whether the override is in force on an instance.
func (o *upstreamOverride) holds(instance, configured string) bool {
	_, isRolled := o.Rolled[instance]
	return !isRolled && o.Against == configured
}

// isEdited tells whether an instance is yet to be marked as one that goes by its configuration.
func (o *upstreamOverride) isEdited(instance, configured string) bool {
	_, isRolled := o.Rolled[instance]
	return !isRolled && o.Against != configured
}

// isSame tells whether two overrides are the same but for the marks of instances.
func (o *upstreamOverride) isSame(other *upstreamOverride) bool {
	if o == nil || other == nil {
		return o == other
	}
	return o.SetAt.Equal(other.SetAt) && o.SetBy == other.SetBy && o.Drained == other.Drained && sameInt(o.Weight, other.Weight)
}

func sameInt(a, b *int) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// replacedBy returns the override that a change makes of this one, which may be nil; nil if
// nothing is left to override, as where the weight is the configured one. It holds on all
// instances with the configuration of the one that makes it.
func (o *upstreamOverride) replacedBy(c upstreamChange, instance, configured string, isConfiguredWeight bool) *upstreamOverride {
	next := &upstreamOverride{Against: configured, SetAt: time.Now().UTC().Round(0), SetBy: c.By}
	if o != nil {
		next.extra = o.extra
		if o.holds(instance, configured) {
			next.Drained, next.Weight = o.Drained, o.Weight
		}
		if !next.SetAt.After(o.SetAt) && o.SetAt.Sub(next.SetAt) < time.Minute {
			next.SetAt = o.SetAt.Add(1) // two changes are told apart by their time
		}
	}
	if c.State != nil {
		next.Drained = *c.State == stateDrain
	}
	if c.Weight != nil {
		if next.Weight = c.Weight; isConfiguredWeight {
			next.Weight = nil
		}
	}
	if !next.Drained && next.Weight == nil {
		return nil
	}
	return next
}

// withRolled returns the override with the mark that an instance goes by its configuration.
func (o *upstreamOverride) withRolled(instance string, now time.Time) *upstreamOverride {
	next := *o
	if next.Rolled = maps.Clone(o.Rolled); next.Rolled == nil {
		next.Rolled = make(map[string]time.Time)
	}
	next.Rolled[instance] = now.UTC().Round(0)
	forgetOldest(next.Rolled, func(at time.Time) time.Time { return at })
	return &next
}

// text says what is set.
func (o *upstreamOverride) text() string {
	switch {
	case o == nil, !o.Drained && o.Weight == nil:
		return "as configured"
	case o.Weight == nil:
		return "drained"
	case o.Drained:
		return fmt.Sprintf("drained, weight %d", *o.Weight)
	}
	return fmt.Sprintf("weight %d", *o.Weight)
}

// conflict says that the override, which may be nil, is not the one that was known.
func (o *upstreamOverride) conflict() error {
	if o == nil {
		return new(conflictError)
	}
	return &conflictError{o.text(), o.SetAt, o.SetBy}
}

// UnmarshalJSON decodes an override.
func (o *upstreamOverride) UnmarshalJSON(data []byte) error {
	var all fields
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	state := ""
	err := errors.Join(all.take("state", &state), all.take("weight", &o.Weight), all.take("against", &o.Against), all.take("set_at", &o.SetAt),
		all.take("set_by", &o.SetBy), all.take("rolled", &o.Rolled))
	if err == nil && o.Weight != nil {
		err = checkWeight(*o.Weight)
	}
	o.Drained, o.extra = state == stateDrain, all
	if state != "" && !o.Drained { // of a newer program
		o.extra["state"] = encode(state)
	}
	return err
}

// MarshalJSON encodes an override.
func (o *upstreamOverride) MarshalJSON() ([]byte, error) {
	known := map[string]any{"against": o.Against, "set_at": o.SetAt}
	if o.Drained {
		known["state"] = stateDrain
	}
	if o.Weight != nil {
		known["weight"] = *o.Weight
	}
	if o.SetBy != "" {
		known["set_by"] = o.SetBy
	}
	if len(o.Rolled) > 0 {
		known["rolled"] = o.Rolled
	}
	return o.extra.encodeWith(known)
}

// configured tells what the route has configured at a dial address: the upstream of each group
// that has one there. It is empty if there is none.
func (r *route) configured(dial string) string {
	var all []string
	for _, g := range r.groups {
		for _, t := range g.targets {
			if t.backend.dial != dial {
				continue
			}
			text := fmt.Sprintf("%s %s weight %d", g.name, t.backend.scheme, t.backend.weight)
			if t.backend.scheme == address.HTTPS && !t.backend.verify {
				text += " unchecked"
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}

// upstreamNews is a change of what is in force for an upstream; nil where nothing is.
type upstreamNews struct {
	dial     string
	was, now *upstreamOverride
}

func dialsOf(all []upstreamNews) (dials []string) {
	for _, one := range all {
		dials = append(dials, one.dial)
	}
	return dials
}

// followUpstreams puts those of the overrides in force that hold on an instance. It tells which
// upstreams are chosen differently now. Only one caller may be in it at a time.
func (r *route) followUpstreams(overrides upstreamOverrides, instance string) (changed []upstreamNews) {
	for _, g := range r.groups {
		differs := false
		for _, t := range g.targets {
			o := overrides[t.backend.dial]
			if o != nil && !o.holds(instance, r.configured(t.backend.dial)) {
				o = nil
			}
			was := t.set.Swap(o)
			if was.isSame(o) {
				continue
			}
			differs = true
			if !slices.Contains(dialsOf(changed), t.backend.dial) {
				changed = append(changed, upstreamNews{t.backend.dial, was, o})
			}
		}
		if differs {
			g.seat()
		}
	}
	return changed
}

// Interface guards
var (
	_ json.Unmarshaler = (*upstreamOverride)(nil)
	_ json.Marshaler   = (*upstreamOverride)(nil)
)
