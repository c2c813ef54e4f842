package proxyos

import (
	"encoding/json"
	"maps"
	"reflect"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// storedRelease is the state of a release as it is stored, with what a newer program knows of it.
type storedRelease struct {
	release.State

	extra fields
}

var releaseStateFields = jsonFields(reflect.TypeFor[release.State]())

// UnmarshalJSON decodes a release. It keeps what it does not know.
func (s *storedRelease) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &s.State); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &s.extra); err != nil {
		return err
	}
	for _, name := range releaseStateFields {
		delete(s.extra, name)
	}
	return s.Check()
}

// MarshalJSON encodes a release.
func (s *storedRelease) MarshalJSON() ([]byte, error) {
	var known map[string]any
	if err := json.Unmarshal(encode(s.State), &known); err != nil {
		return nil, err
	}
	return s.extra.encodeWith(known)
}

// release returns the latest release of a route; nil if it never had one.
func (d *document) release(route string) *release.State {
	if stored := d.Releases[route]; stored != nil {
		return &stored.State
	}
	return nil
}

// setRelease sets the state of a release in a document that is being edited.
func (d *document) setRelease(route string, state release.State) {
	d.Releases = maps.Clone(d.Releases)
	if d.Releases == nil {
		d.Releases = make(map[string]*storedRelease)
	}
	next := &storedRelease{State: state}
	if before := d.Releases[route]; before != nil {
		next.extra = before.extra
	}
	d.Releases[route] = next
}

// stopRelease ends the release of a route in a document that is being edited, since the share is no
// longer the release's to set. It tells whether there was one to end.
func (d *document) stopRelease(route, why string) (stopped bool) {
	state := d.release(route)
	if state == nil {
		return false
	}
	next, err := state.Stop(why, time.Now().UTC().Round(0))
	if err != nil { // it is over
		return false
	}
	d.setRelease(route, next)
	return true
}

// Interface guards
var (
	_ json.Unmarshaler = (*storedRelease)(nil)
	_ json.Marshaler   = (*storedRelease)(nil)
)
