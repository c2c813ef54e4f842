package proxyos

import (
	"crypto/rand"
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
	return overrideKey{o.TrafficSplit, o.SetAt.UnixNano(), o.SetBy}
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
	if _, ok := o.Rolled[instance]; ok {
		return verdict{}
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
	if first := o.firstRolled(); !first.IsZero() {
		unclear := now.Before(first.Add(rolloutTime))
		return verdict{holds: unclear, unclear: unclear}
	}
	return verdict{holds: true, joins: len(o.Configured) < maxKnown}
}

// firstRolled returns when the first instance was rolled out, or the zero time.
func (o *override) firstRolled() (first time.Time) {
	for _, r := range o.Rolled {
		if first.IsZero() || r.At.Before(first) {
			first = r.At
		}
	}
	return first
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
	next.Rolled[instance] = rolled{At: now.UTC().Round(0), Configured: configured}
	return &next
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

// document has all overrides, as stored.
type document struct {
	Format  int                  // of an older program: 0
	ID      string               // another one at each write
	Version uint64               // for older programs only: grows with each write
	Routes  map[string]*override // by name

	extra fields
}

// documentFormat is the format of the documents that this program writes.
const documentFormat = 1

// maxVersion is the largest number that all JSON decoders read exactly.
const maxVersion = 1 << 53

// newerFormatError says that a document is only to be read.
type newerFormatError struct {
	format int
	cause  error // why it is not even understood, if it is not
}

func (e *newerFormatError) Error() string {
	text := fmt.Sprintf("the stored document %s has format %d, and this version writes format %d; update this instance", overridesKey, e.format, documentFormat)
	if e.cause != nil {
		text += fmt.Sprintf(" (%v)", e.cause)
	}
	return text
}

func (e *newerFormatError) Unwrap() error { return e.cause }

// parseDocument reads a stored document. It keeps what it does not know.
func parseDocument(raw []byte) (document, error) {
	if !json.Valid(raw) { // also rejects text after the first value
		return document{}, errors.New("it is not JSON")
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		if doc.Format > documentFormat {
			return document{}, &newerFormatError{doc.Format, err}
		}
		return document{}, err
	}
	return doc, nil
}

// UnmarshalJSON decodes a document.
func (d *document) UnmarshalJSON(data []byte) error {
	var all fields
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	if err := all.take("format", &d.Format); err != nil {
		return err
	}
	var version float64
	err := errors.Join(all.take("id", &d.ID), all.take("version", &version), all.take("routes", &d.Routes))
	if err == nil && d.Format < 1 && version <= 0 {
		err = errors.New("it has neither a format nor a version")
	}
	d.Version = maxVersion
	if version < maxVersion {
		d.Version = uint64(max(version, 0))
	}
	for name, o := range d.Routes {
		if o == nil {
			delete(d.Routes, name)
			continue
		}
		if limits := o.check(); limits != nil {
			err = errors.Join(err, fmt.Errorf("route %q: %w", name, limits))
		}
	}
	d.extra = all
	return err
}

// MarshalJSON encodes a document.
func (d document) MarshalJSON() ([]byte, error) {
	return d.extra.encodeWith(map[string]any{"format": d.Format, "id": d.ID, "version": d.Version, "routes": d.Routes})
}

// encoded returns the document as it is stored in place of another, with an ID of its own.
func (d document) encoded() ([]byte, document, error) {
	d.Format, d.ID = documentFormat, rand.Text()
	d.Version = min(d.Version, maxVersion-1) + 1
	raw, err := json.MarshalIndent(d, "", "\t")
	return raw, d, err
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

// UnmarshalJSON decodes an override.
func (o *override) UnmarshalJSON(data []byte) error {
	var all fields
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	err := errors.Join(all.take("traffic_split", &o.TrafficSplit), all.take("against", &o.Against), all.take("set_at", &o.SetAt),
		all.take("set_by", &o.SetBy), all.take("configured", &o.Configured), all.take("rolled", &o.Rolled))
	o.extra, o.share = all, newShare(o.TrafficSplit)
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

// fields are those of a JSON object, by name. What is left of them, once the known ones are
// taken, is handed on as it is: a newer program may have written it.
type fields map[string]json.RawMessage

// take decodes a field, if it is there, and removes it.
func (f fields) take(name string, into any) error {
	raw, ok := f[name]
	if !ok {
		return nil
	}
	delete(f, name)
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// encodeWith encodes the fields and the known ones as one object.
func (f fields) encodeWith(known map[string]any) ([]byte, error) {
	all := make(map[string]any, len(f)+len(known))
	for name, raw := range f {
		all[name] = raw
	}
	maps.Copy(all, known)
	return json.Marshal(all)
}

// Interface guards
var (
	_ json.Unmarshaler = (*document)(nil)
	_ json.Marshaler   = document{}
	_ json.Unmarshaler = (*override)(nil)
	_ json.Marshaler   = (*override)(nil)
	_ json.Unmarshaler = (*rolled)(nil)
	_ json.Marshaler   = rolled{}
)
