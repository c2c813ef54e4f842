package proxyos

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// document has all overrides, as stored.
type document struct {
	Format  int                  // of an older program: 0
	ID      string               // another one at each write
	Version uint64               // for older programs only: grows with each write
	Routes  map[string]*override // by name

	Upstreams map[string]upstreamOverrides // by the route's name
	Releases  map[string]*storedRelease    // likewise, the latest of each

	resetBy map[string]string // who has reset routes here, by name; not stored
	extra   fields
}

// upstreamsOf returns the overrides of a route's upstreams, which may be changed; the document
// must be one that is being edited.
func (d *document) upstreamsOf(route string) upstreamOverrides {
	d.Upstreams = maps.Clone(d.Upstreams)
	if d.Upstreams == nil {
		d.Upstreams = make(map[string]upstreamOverrides)
	}
	own := maps.Clone(d.Upstreams[route])
	if own == nil {
		own = make(upstreamOverrides)
	}
	d.Upstreams[route] = own
	return own
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
	var format, version float64
	if err := all.take("format", &format); err != nil {
		return err
	}
	d.Format = int(min(format, maxVersion))
	err := errors.Join(all.take("id", &d.ID), all.take("version", &version), all.take("routes", &d.Routes), all.take("upstreams", &d.Upstreams), all.take("releases", &d.Releases))
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
	for _, overrides := range d.Upstreams {
		maps.DeleteFunc(overrides, func(_ string, o *upstreamOverride) bool { return o == nil })
	}
	maps.DeleteFunc(d.Releases, func(_ string, state *storedRelease) bool { return state == nil })
	d.extra = all
	return err
}

// MarshalJSON encodes a document.
func (d document) MarshalJSON() ([]byte, error) {
	known := map[string]any{"format": d.Format, "id": d.ID, "version": d.Version, "routes": d.Routes}
	if len(d.Upstreams) > 0 {
		known["upstreams"] = d.Upstreams
	}
	if len(d.Releases) > 0 {
		known["releases"] = d.Releases
	}
	return d.extra.encodeWith(known)
}

// encoded returns the document as it is stored in place of another, with an ID of its own.
func (d document) encoded() ([]byte, document, error) {
	d.Format, d.ID = documentFormat, rand.Text()
	d.Version = min(d.Version, maxVersion-1) + 1
	raw, err := json.MarshalIndent(d, "", "\t")
	return raw, d, err
}

// Interface guards
var (
	_ json.Unmarshaler = (*document)(nil)
	_ json.Marshaler   = document{}
)
