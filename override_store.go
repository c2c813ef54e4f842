package proxyos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// overridesKey is where Caddy's storage has the splits that were set at run time.
const overridesKey = "proxyos/overrides.json"

// storageTimeout is how long a change may wait for the storage, its lock included.
const storageTimeout = 10 * time.Second

// settleTime is how long a damaged document must have stayed as it is when it is replaced.
const settleTime = 200 * time.Millisecond

// overrideStore keeps the splits that were set at run time in Caddy's storage. All instances of
// a cluster read them there, and so does this one after a restart. It follows each document that
// differs from the one it knows: an older one, too, for then the storage has gone back for all.
// It does not touch requests. If the storage fails or has lost the document, the splits stay.
type overrideStore struct {
	storage certmagic.Storage
	logger  *zap.Logger
	memory  *memory

	// apply puts a document in force; followed tells whether it came from the storage
	apply func(doc document, followed bool)

	instance string // the ID of this instance

	changing chan struct{} // has room while no change is made here
	seen     seenLock      // guarded by that
	reading  atomic.Bool   // the document is being read
	hasRead  atomic.Bool   // this process has known what was stored since this config was loaded

	applied uint64 // the generation that is in force; guarded by the memory's lock
}

func newOverrideStore(storage certmagic.Storage, instance string, apply func(document, bool), logger *zap.Logger) *overrideStore {
	return &overrideStore{storage: storage, logger: logger, apply: apply, instance: instance, changing: make(chan struct{}, 1)}
}

// stored is a document and its bytes, which are nil if there is none.
type stored struct {
	raw []byte
	doc document
}

// errMissing says that a document that there was is gone.
var errMissing = fmt.Errorf("the stored document %s is missing", overridesKey)

// errNoAnswer says that the storage has not answered in time.
var errNoAnswer = fmt.Errorf("the storage has not answered for %s", storageTimeout)

// read returns the stored document, if there is one.
func (s *overrideStore) read(ctx context.Context) (stored, error) {
	raw, err := s.storage.Load(ctx, overridesKey)
	if errors.Is(err, fs.ErrNotExist) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, fmt.Errorf("reading %s from the storage: %w", overridesKey, err)
	}
	doc, err := parseDocument(raw)
	if _, newer := errors.AsType[*newerFormatError](err); newer {
		return stored{}, err
	}
	if err != nil {
		return stored{}, &damagedError{raw, err}
	}
	return stored{raw, doc}, nil
}

// readSettled is read, but for a document that may be read while an editor or a copy is half way through
// writing it: it is damaged only if it reads the same twice, settleTime apart.
func (s *overrideStore) readSettled(ctx context.Context) (stored, error) {
	found, err := s.read(ctx)
	damaged, isDamaged := errors.AsType[*damagedError](err)
	for isDamaged {
		select {
		case <-ctx.Done():
			return stored{}, fmt.Errorf("waiting for %s to be written whole: %w", overridesKey, ctx.Err())
		case <-time.After(settleTime):
		}
		was := damaged.raw
		found, err = s.read(ctx)
		if damaged, isDamaged = errors.AsType[*damagedError](err); isDamaged && bytes.Equal(damaged.raw, was) {
			break
		}
	}
	return found, err
}

// sync puts the stored document in force if it differs from the one that this process knows. It
// tells whether the document must be repaired: it is missing or damaged, and this process has had one.
func (s *overrideStore) sync(ctx context.Context) (repair bool) {
	_, _, generation := s.memory.latest()
	found, err := s.readInTime(ctx)
	damaged, isDamaged := errors.AsType[*damagedError](err)

	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	defer s.catchUp()
	if s.memory.generation != generation { // a change was made here while the storage was read, or another config has read it
		s.hasRead.Store(true)
		return false
	}
	known := s.memory.raw != nil
	switch {
	case isDamaged && known:
		return true
	case isDamaged:
		s.report(ctx, "damaged", "the stored splits are damaged, and this instance has not seen others; the configured ones apply until another instance writes the splits again, or `caddy proxyos split` or `reset` does", damaged)
	case err != nil:
		s.report(ctx, "unreadable", "the stored splits cannot be read; the current ones still apply", err)
	case found.raw == nil && known:
		s.report(ctx, "missing", "the stored splits are missing; the current ones still apply, and are written again", errMissing)
		return true
	default:
		s.hasRead.Store(true)
		s.take(found)
		if len(s.memory.reported) > 0 {
			s.logger.Info("the stored splits can be read again")
			clear(s.memory.reported)
		}
	}
	return false
}

// readInTime is read for a storage that may never answer.
func (s *overrideStore) readInTime(ctx context.Context) (stored, error) {
	if !s.reading.CompareAndSwap(false, true) {
		return stored{}, errNoAnswer
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	var found stored
	done := make(chan error, 1)
	go func() {
		var err error
		found, err = s.read(ctx)
		s.reading.Store(false)
		done <- err
	}()
	select {
	case err := <-done:
		return found, err
	case <-ctx.Done():
	}
	select { // what heeds the context says more
	case err := <-done:
		return found, err
	case <-time.After(storageTimeout / 50):
		return stored{}, errNoAnswer
	}
}

// report logs once that something is wrong with the storage. The memory's lock must be held.
func (s *overrideStore) report(ctx context.Context, kind, message string, err error) {
	if !s.memory.reported[kind] && !errors.Is(ctx.Err(), context.Canceled) {
		s.memory.reported[kind] = true
		s.logger.Error(message, zap.String("key", overridesKey), zap.Error(err))
	}
}

// take makes a document the latest. The memory's lock must be held.
func (s *overrideStore) take(found stored) {
	if found.raw != nil && !bytes.Equal(found.raw, s.memory.raw) {
		s.memory.raw, s.memory.doc = found.raw, found.doc
		s.memory.generation++
	}
}

// catchUp puts the latest document in force. The memory's lock must be held.
func (s *overrideStore) catchUp() {
	if s.applied != s.memory.generation {
		s.applied = s.memory.generation
		s.apply(s.memory.doc, true)
	}
}

// follow puts in force what this process already knows. A config that did not run yet has left
// the routes to the one before.
func (s *overrideStore) follow() {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.memory.raw != nil {
		s.applied = s.memory.generation
		s.apply(s.memory.doc, true)
	}
}

// conflict is an error of an edit that must not be made of what is stored, which holds all the same.
type conflict interface {
	error
	isConflict()
}

// edit changes a document, and tells whether it has. An error leaves the stored document as it is.
type edit func(*document) (changed bool, err error)

// change changes the document in the storage, then puts it in force. Only a person may replace a
// damaged document of which this process has seen no sound version.
func (s *overrideStore) change(ctx context.Context, edit edit, byPerson bool) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	select {
	case s.changing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for another change of this instance, which waits for the storage: %w", ctx.Err())
	}
	var isStored atomic.Bool
	done := make(chan error, 1)
	go func() { // some storages do not heed the context
		defer func() { <-s.changing }()
		done <- s.locked(ctx, func() error { return s.rewrite(ctx, edit, byPerson, &isStored) })
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // what heeds the context says more
	case err := <-done:
		return err
	case <-time.After(storageTimeout / 50):
	}
	if isStored.Load() {
		return nil
	}
	return fmt.Errorf("the storage does not answer: %w", ctx.Err())
}

// rewrite reads, edits and writes the document, and puts it in force. The lock must be held.
func (s *overrideStore) rewrite(ctx context.Context, edit edit, byPerson bool, isStored *atomic.Bool) error {
	known, knownRaw, _ := s.memory.latest()
	found, err := s.readSettled(ctx)
	if err == nil && found.raw == nil { // it is missing, or the storage says so of everything
		if found, err = s.readSettled(ctx); err == nil && found.raw == nil {
			if err = s.prove(ctx); err == nil {
				found, err = s.readSettled(ctx)
			}
		}
	}
	replaced := false
	damaged, isDamaged := errors.AsType[*damagedError](err)
	switch {
	case isDamaged && knownRaw == nil && !byPerson:
		return err
	case isDamaged && known.Format > documentFormat:
		return errors.Join(&newerFormatError{format: known.Format}, err)
	case isDamaged:
		if err := s.setAside(ctx, damaged); err != nil {
			return err
		}
		found, replaced = stored{knownRaw, known}, true
	case err != nil:
		return err
	case found.raw == nil:
		// another instance may know a document that says otherwise than a person
		found, replaced = stored{knownRaw, known}, knownRaw != nil || byPerson
	}

	next := found.doc
	if next.Routes = maps.Clone(next.Routes); next.Routes == nil {
		next.Routes = make(map[string]*override)
	}
	changed, err := edit(&next)
	switch {
	case err != nil || !changed && !replaced:
	case found.doc.Format > documentFormat:
		err = &newerFormatError{format: found.doc.Format}
	case !changed && found.raw != nil: // the very same bytes: nobody need follow them
		err = s.write(ctx, found.raw)
	default:
		if found.raw, found.doc, err = next.encoded(); err == nil {
			err = s.write(ctx, found.raw)
		}
	}
	if _, conflict := errors.AsType[conflict](err); err != nil && !conflict {
		return err
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.take(found); s.applied != s.memory.generation {
		s.applied = s.memory.generation
		s.apply(found.doc, err != nil)
	}
	s.memory.aside = nil
	isStored.Store(err == nil)
	return err
}

func (s *overrideStore) write(ctx context.Context, raw []byte) error {
	if err := ctx.Err(); err != nil {
		return err // the lock may no longer be ours
	}
	if err := s.storage.Store(ctx, overridesKey, raw); err != nil {
		return fmt.Errorf("writing %s to the storage: %w", overridesKey, err)
	}
	return nil
}
