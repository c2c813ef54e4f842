package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// overridesKey is where Caddy's storage has the splits that were set at run time.
const overridesKey = "proxyos/overrides.json"

// storageTimeout is how long a change may wait for the storage. It is long enough for the lock
// of a killed instance to go stale.
const storageTimeout = 30 * time.Second

// document has all overrides, as stored.
type document struct {
	Version uint64               `json:"version"` // grows with each change; see firstVersion
	Routes  map[string]*override `json:"routes"`  // by name
}

// override is a traffic split that is set while the route runs. Once it is in force, only
// retired may change.
type override struct {
	TrafficSplit float64   `json:"traffic_split"`
	Against      float64   `json:"against"` // the configured split that it replaces
	SetAt        time.Time `json:"set_at"`
	SetBy        string    `json:"set_by,omitempty"`

	share   share       // the traffic split
	retired atomic.Bool // the configured split has been edited since
}

func newOverride(percent, against float64, by string) *override {
	return &override{TrafficSplit: percent, Against: against, SetAt: time.Now().UTC().Round(0), SetBy: by, share: newShare(percent)}
}

// UnmarshalJSON decodes an override. It rejects unknown fields.
func (o *override) UnmarshalJSON(data []byte) error {
	type plain override
	if err := caddy.StrictUnmarshalJSON(data, (*plain)(o)); err != nil {
		return err
	}
	o.share = newShare(o.TrafficSplit)
	return nil
}

// firstVersion returns the version of a new document. It is larger than those of a document
// that was lost, which an instance may still have in force.
func firstVersion() uint64 { return uint64(time.Now().UnixMilli()) }

// maxVersion is the largest number that all JSON decoders read exactly.
const maxVersion = 1 << 53

func parseDocument(raw []byte) (document, error) {
	var doc document
	if !json.Valid(raw) { // also rejects text after the first value
		return document{}, errors.New("it is not JSON")
	}
	if err := caddy.StrictUnmarshalJSON(raw, &doc); err != nil {
		return document{}, err
	}
	if doc.Version == 0 || doc.Version > maxVersion {
		return document{}, fmt.Errorf("its version %d is outside 1 to %d", doc.Version, uint64(maxVersion))
	}
	for name, o := range doc.Routes {
		if o == nil {
			delete(doc.Routes, name)
			continue
		}
		if err := errors.Join(checkPercent(o.TrafficSplit), checkPercent(o.Against)); err != nil {
			return document{}, fmt.Errorf("route %q: the split %w", name, err)
		}
	}
	return doc, nil
}

// overrideStore keeps the splits that were set at run time in Caddy's storage. All instances of
// a cluster read them there, and so does this one after a restart. It does not touch requests: if
// the storage fails, the splits stay as they are.
type overrideStore struct {
	storage certmagic.Storage
	logger  *zap.Logger
	held    func() document // the overrides in force

	// apply puts a document in force; followed tells whether it came from the storage
	apply func(doc document, followed bool)

	mu      sync.Mutex // held while the document is changed or put in force
	version uint64     // of the document in force
	failing bool       // whether the storage failed when it was last read
}

// change changes the document in the storage, then puts it in force. It writes nothing if
// edit reports that nothing has changed.
func (s *overrideStore) change(ctx context.Context, edit func(*document) bool) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.storage.Lock(ctx, overridesKey); err != nil {
		return fmt.Errorf("locking %s in the storage: %w", overridesKey, err)
	}
	doc, err := s.edit(ctx, edit)
	// unlock even if the context has ended in the meantime
	if unlockErr := s.storage.Unlock(context.WithoutCancel(ctx), overridesKey); unlockErr != nil {
		s.logger.Error("the stored splits could not be unlocked", zap.String("key", overridesKey), zap.Error(unlockErr))
	}
	if err != nil {
		return err
	}
	s.putInForce(doc, false)
	return nil
}

// edit reads, edits and writes the document. The lock must be held.
func (s *overrideStore) edit(ctx context.Context, edit func(*document) bool) (document, error) {
	doc, err := s.read(ctx)
	damaged, isDamaged := errors.AsType[*damagedError](err)
	switch {
	case isDamaged:
		if doc, err = s.setAside(ctx, damaged); err != nil {
			return document{}, err
		}
	case err != nil:
		return document{}, err
	}
	if doc.Routes == nil {
		doc.Routes = make(map[string]*override)
	}
	if !edit(&doc) && !isDamaged {
		return doc, nil
	}
	if doc.Version == 0 {
		doc.Version = firstVersion()
	}
	doc.Version = max(doc.Version, s.version) + 1
	encoded, err := json.MarshalIndent(doc, "", "\t")
	if err != nil {
		return document{}, err
	}
	if err := s.storage.Store(ctx, overridesKey, encoded); err != nil {
		return document{}, fmt.Errorf("writing %s to the storage: %w", overridesKey, err)
	}
	return doc, nil
}

// damagedError says that the stored document cannot be read.
type damagedError struct {
	raw   []byte
	cause error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("the stored document %s is damaged: %v", overridesKey, e.cause)
}

// read returns the stored document, an empty one if there is none.
func (s *overrideStore) read(ctx context.Context) (document, error) {
	raw, err := s.storage.Load(ctx, overridesKey)
	if errors.Is(err, fs.ErrNotExist) {
		return document{}, nil
	}
	if err != nil {
		return document{}, fmt.Errorf("reading %s from the storage: %w", overridesKey, err)
	}
	doc, err := parseDocument(raw)
	if err != nil {
		return document{}, &damagedError{raw, err}
	}
	return doc, nil
}

// setAside keeps a damaged document under another key, and returns in its place what is in
// force here.
func (s *overrideStore) setAside(ctx context.Context, damaged *damagedError) (document, error) {
	key := fmt.Sprintf("proxyos/overrides.damaged-%s.json", time.Now().UTC().Format("20060102T150405.000"))
	if err := s.storage.Store(ctx, key, damaged.raw); err != nil {
		return document{}, fmt.Errorf("setting %s aside as %s: %w", overridesKey, key, err)
	}
	s.logger.Error("the stored splits are damaged; they are set aside and replaced with the current ones",
		zap.String("key", overridesKey), zap.String("set_aside_as", key), zap.Error(damaged.cause))
	return s.held(), nil
}

// sync puts the stored document in force if it is newer than the current one; with again, also
// if both have the same version. It ignores an older one: a change may be made here while the
// storage is read.
func (s *overrideStore) sync(ctx context.Context, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	doc, err := s.read(ctx)
	if _, damaged := errors.AsType[*damagedError](err); damaged {
		err = s.change(ctx, func(*document) bool { return false }) // sets it aside
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report(ctx, err)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report(ctx, err); err != nil {
		return err
	}
	if doc.Version == 0 && s.version > 0 {
		// no document: it was deleted, or not yet written when it was read
		if doc, err = s.read(ctx); err != nil {
			return err
		}
	}
	if doc.Version > s.version || doc.Version == 0 || again && doc.Version == s.version {
		s.putInForce(doc, true)
	}
	return nil
}

// report logs once that the storage fails, and once that it works again.
func (s *overrideStore) report(ctx context.Context, err error) {
	switch {
	case err != nil && !s.failing && !errors.Is(ctx.Err(), context.Canceled):
		s.logger.Error("the stored splits cannot be read; the current ones still apply", zap.Error(err))
		s.failing = true
	case err == nil && s.failing:
		s.logger.Info("the stored splits can be read again")
		s.failing = false
	}
}

func (s *overrideStore) putInForce(doc document, followed bool) {
	s.version = doc.Version
	s.apply(doc, followed)
}
