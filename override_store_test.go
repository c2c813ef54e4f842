package proxyos

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestAChangeIsStoredBeforeItIsInForce(t *testing.T) {
	o, storage, _ := newOverrides(t)
	o.apply = func(doc document, followed bool) {
		stored, err := parseDocument(storage.get(overridesKey))
		if err != nil || stored.Routes["app"].TrafficSplit != doc.Routes["app"].TrafficSplit {
			t.Errorf("%+v comes into force while %+v is stored", doc, stored)
		}
		if followed {
			t.Error("a change made here counts as one from the storage")
		}
	}
	if err := o.change(t.Context(), set("app", 25), true); err != nil {
		t.Fatal(err)
	}
	if storage.locked() {
		t.Error("the storage is still locked")
	}
}

func TestAChangeThatCannotBeStoredChangesNothing(t *testing.T) {
	for _, operation := range []string{"lock", "load", "store"} {
		o, storage, inForce := newOverrides(t)
		if err := o.change(t.Context(), set("app", 25), true); err != nil {
			t.Fatal(err)
		}
		stored := string(storage.get(overridesKey))
		storage.fail(operation)
		err := o.change(t.Context(), set("app", 50), true)
		if !errors.Is(err, errBroken) {
			t.Errorf("%s fails, and the change reports %v", operation, err)
		}
		if got := inForce.of("app"); got != 25 {
			t.Errorf("%s fails, and %v %% is in force", operation, got)
		}
		storage.fail("")
		if storage.locked() {
			t.Errorf("%s fails, and the storage stays locked", operation)
		}
		if got := string(storage.get(overridesKey)); got != stored {
			t.Errorf("%s fails, and the stored document is now\n%s", operation, got)
		}
	}
}

func TestTheLastWriterWins(t *testing.T) {
	one, storage, inForceOfOne := newOverrides(t)
	other, _, inForceOfOther := newOverridesOn(storage)
	for i, percent := range []float64{10, 20, 30, 40} {
		writer := []*overrideStore{one, other}[i%2]
		if err := writer.change(t.Context(), set("app", percent), true); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []*overrideStore{one, other} {
		o.sync(t.Context())
	}
	if inForceOfOne.of("app") != 40 || inForceOfOther.of("app") != 40 {
		t.Errorf("in force are %v %% and %v %%, want 40 %% in both", inForceOfOne.of("app"), inForceOfOther.of("app"))
	}
}

func TestADocumentThatDiffersIsFollowedOlderOrNot(t *testing.T) {
	one, storage, inForce := newOverrides(t)
	var backups [][]byte
	for _, percent := range []float64{20, 30, 40} {
		if err := one.change(t.Context(), set("app", percent), true); err != nil {
			t.Fatal(err)
		}
		backups = append(backups, storage.get(overridesKey))
	}
	other, _, inForceOfOther := newOverridesOn(storage)
	for i, want := range map[int]float64{0: 20, 1: 30, 2: 40} {
		storage.put(overridesKey, backups[i])
		one.sync(t.Context())
		other.sync(t.Context())
		if inForce.of("app") != want || inForceOfOther.of("app") != want {
			t.Errorf("restored was %v %%; in force are %v %% and %v %%", want, inForce.of("app"), inForceOfOther.of("app"))
		}
	}
}

func TestTheVersionIsNeverCompared(t *testing.T) {
	one, storage, inForce := newOverrides(t)
	for _, version := range []string{"9007199254740992", "1", "1e300", "9007199254740992"} {
		storage.put(overridesKey, []byte(`{"version":`+version+`,"routes":{"app":{"traffic_split":5}}}`))
		one.sync(t.Context())
		if got := inForce.of("app"); got != 5 {
			t.Errorf("version %s: %v %% is in force, want 5", version, got)
		}
		if err := one.change(t.Context(), set("app", 7), true); err != nil {
			t.Fatal(err)
		}
		if doc, err := parseDocument(storage.get(overridesKey)); err != nil || doc.Version > maxVersion || doc.Routes["app"].TrafficSplit != 7 {
			t.Errorf("after version %s, stored is %+v, %v", version, doc, err)
		}
	}
	if aside := storage.keys(damagedPrefix); len(aside) > 0 {
		t.Errorf("set aside are %v", aside)
	}
}

func TestAMissingDocumentIsWrittenAgainAsItWas(t *testing.T) {
	one, storage, inForce := newOverrides(t)
	core, logs := observer.New(zap.InfoLevel)
	one.logger = zap.New(core)
	if one.sync(t.Context()) {
		t.Error("where there never was a document, one is missing")
	}
	if err := one.change(t.Context(), set("app", 25), true); err != nil {
		t.Fatal(err)
	}
	was := string(storage.get(overridesKey))
	storage.put(overridesKey, nil)
	for range 3 {
		if !one.sync(t.Context()) {
			t.Error("the missing document is not missed")
		}
	}
	if got := inForce.of("app"); got != 25 {
		t.Errorf("now %v %% is in force", got)
	}
	if err := one.change(t.Context(), keep, false); err != nil {
		t.Fatal(err)
	}
	if got := string(storage.get(overridesKey)); got != was {
		t.Errorf("stored was\n%s\nand is\n%s", was, got)
	}
	one.sync(t.Context())
	if missing, again := logs.FilterMessageSnippet("are missing").Len(), logs.FilterMessageSnippet("can be read again").Len(); missing != 1 || again != 1 {
		t.Errorf("it is logged %d times, and its end %d times", missing, again)
	}
}

func TestAStorageThatOnlySaysThatThereIsNothingIsNotWritten(t *testing.T) {
	one, storage, inForce := newOverrides(t)
	if err := one.change(t.Context(), set("app", 25), true); err != nil {
		t.Fatal(err)
	}
	other, _, _ := newOverridesOn(storage)
	if err := other.change(t.Context(), set("app", 50), true); err != nil {
		t.Fatal(err)
	}
	storage.fail("deny")
	for _, byPerson := range []bool{true, false} {
		edit := keep
		if byPerson {
			edit = set("app", 60)
		}
		if err := one.change(t.Context(), edit, byPerson); err == nil || !strings.Contains(err.Error(), "does not deliver what it was given") {
			t.Errorf("the change reports %v", err)
		}
	}
	if got := inForce.of("app"); got != 25 {
		t.Errorf("now %v %% is in force", got)
	}
	storage.fail("")
	if one.sync(t.Context()); inForce.of("app") != 50 {
		t.Errorf("once the storage works, %v %% is in force, want 50", inForce.of("app"))
	}
}

func TestADocumentOfANewerFormatIsFollowedAndNotWritten(t *testing.T) {
	one, storage, inForce := newOverrides(t)
	const newer = `{"format":2,"version":1,"routes":{"app":{"traffic_split":5}}}`
	storage.put(overridesKey, []byte(newer))
	one.sync(t.Context())
	if got := inForce.of("app"); got != 5 {
		t.Errorf("%v %% is in force, want 5", got)
	}
	for _, text := range []string{newer, `{"format":3,"routes":[]}`} {
		storage.put(overridesKey, []byte(text))
		if one.sync(t.Context()) {
			t.Errorf("%s counts as damaged", text)
		}
		if err := one.change(t.Context(), set("app", 7), true); err == nil || !strings.Contains(err.Error(), "has format "+text[10:11]) {
			t.Errorf("%s: a change reports %v", text, err)
		}
		if got := string(storage.get(overridesKey)); got != text || inForce.of("app") != 5 {
			t.Errorf("%s becomes %s, in force is %v %%", text, got, inForce.of("app"))
		}
	}
}

// What is read while somebody writes it by hand is no damage.
func TestADocumentThatIsBeingWrittenIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, elsewhere, _ := newOverrides(t)
		if err := other.change(t.Context(), set("app", 40), true); err != nil {
			t.Fatal(err)
		}
		whole := elsewhere.get(overridesKey)
		for _, byPerson := range []bool{false, true} {
			for end := range len(strings.TrimSpace(string(whole))) {
				one, storage, inForce := newOverrides(t)
				if err := one.change(t.Context(), set("app", 25), true); err != nil {
					t.Fatal(err)
				}
				storage.put(overridesKey, whole[:end])
				if !one.sync(t.Context()) {
					t.Fatalf("%q is not seen to be damaged", whole[:end])
				}
				time.AfterFunc(settleTime/2, func() { storage.put(overridesKey, whole) })
				if err := one.change(t.Context(), keep, byPerson); err != nil {
					t.Fatal(err)
				}
				if got := string(storage.get(overridesKey)); got != string(whole) || inForce.of("app") != 40 || len(storage.keys(damagedPrefix)) > 0 {
					t.Errorf("written to byte %d, then on: it has become\n%s\n%v %% is in force, and stored are %v", end, got, inForce.of("app"), storage.keys(""))
				}
			}
		}
	})
}

// Nor is that of a document which was missing a moment ago, as that of a folder that is copied anew.
func TestADocumentThatComesBackBitByBitIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, storage, inForce := newOverrides(t)
		other, elsewhere, _ := newOverrides(t)
		for percent, o := range map[float64]*overrideStore{25: one, 40: other} {
			if err := o.change(t.Context(), set("app", percent), true); err != nil {
				t.Fatal(err)
			}
		}
		whole := elsewhere.get(overridesKey)
		storage.put(overridesKey, nil)
		if !one.sync(t.Context()) {
			t.Fatal("the missing document is not missed")
		}
		loads := 0
		one.storage = &overtakenStorage{storage, func() {
			if loads++; loads == 1 {
				storage.put(overridesKey, whole[:len(whole)/2])
				time.AfterFunc(settleTime/2, func() { storage.put(overridesKey, whole) })
			}
		}}
		if err := one.change(t.Context(), keep, false); err != nil {
			t.Fatal(err)
		}
		if got := string(storage.get(overridesKey)); got != string(whole) || inForce.of("app") != 40 || len(storage.keys(damagedPrefix)) > 0 {
			t.Errorf("it has become\n%s\n%v %% is in force, and stored are %v", got, inForce.of("app"), storage.keys(""))
		}
	})
}

// A file that somebody writes without end ends no change later than a slow storage does.
func TestADocumentThatIsWrittenWithoutEndTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, storage, inForce := newOverrides(t)
		if err := o.change(t.Context(), set("app", 25), true); err != nil {
			t.Fatal(err)
		}
		writing, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		defer writer.Wait()
		defer stop()
		writer.Go(func() {
			for text := " "; writing.Err() == nil; text += " " {
				storage.put(overridesKey, []byte(text))
				time.Sleep(settleTime / 2)
			}
		})
		synctest.Wait()
		began := time.Now()
		err := o.change(t.Context(), set("app", 40), true)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > storageTimeout+time.Second {
			t.Errorf("after %s the change reports %v", took, err)
		}
		if storage.locked() || inForce.of("app") != 25 || len(storage.keys(damagedPrefix)) > 0 {
			t.Errorf("in force is %v %%, stored are %v", inForce.of("app"), storage.keys(""))
		}
	})
}

func TestADamagedDocumentIsReplacedByThoseWhoHadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const damage = `{"version":`
		one, storage, inForce := newOverrides(t)
		if err := one.change(t.Context(), set("app", 25), true); err != nil {
			t.Fatal(err)
		}
		was := string(storage.get(overridesKey))
		fresh, _, inForceOfFresh := newOverridesOn(storage)
		core, logs := observer.New(zap.InfoLevel)
		fresh.logger = zap.New(core)
		for range 8 {
			storage.put(overridesKey, []byte(damage))
			for range 2 {
				if fresh.sync(t.Context()) {
					t.Error("an instance that has had no document would replace it")
				}
			}
			if err := fresh.change(t.Context(), keep, false); err == nil {
				t.Error("an instance that has had no document replaces it of its own accord")
			}
			if !one.sync(t.Context()) || inForce.of("app") != 25 {
				t.Errorf("an instance that has had one does not repair it, or has %v %%", inForce.of("app"))
			}
			proxytest.Eventually(t, "the name of the next one is another", func() bool {
				return len(storage.keys(damagedPrefix+time.Now().UTC().Format("20060102T150405.000"))) == 0
			})
			if err := one.change(t.Context(), keep, false); err != nil {
				t.Fatal(err)
			}
			if got := string(storage.get(overridesKey)); got != was {
				t.Errorf("it is replaced with\n%s\nwant\n%s", got, was)
			}
		}
		if logged := logs.FilterMessageSnippet("has not seen others").Len(); logged != 1 {
			t.Errorf("the one that waits logs that %d times", logged)
		}
		aside := storage.keys(damagedPrefix)
		if len(aside) != keptDamaged || string(storage.get(aside[0])) != damage {
			t.Errorf("set aside are %v", aside)
		}
		if fresh.sync(t.Context()); inForceOfFresh.of("app") != 25 {
			t.Errorf("the one that waited has %v %%", inForceOfFresh.of("app"))
		}
	})
}

func TestAPersonReplacesADamagedDocument(t *testing.T) {
	for name, edit := range map[string]edit{"split": set("app", 30), "reset": keep} {
		fresh, storage, inForce := newOverrides(t)
		storage.put(overridesKey, []byte(" "))
		if err := fresh.change(t.Context(), edit, true); err != nil {
			t.Fatal(err)
		}
		doc, err := parseDocument(storage.get(overridesKey))
		if err != nil || len(storage.keys(damagedPrefix)) != 1 || name == "split" && (doc.Routes["app"].TrafficSplit != 30 || inForce.of("app") != 30) {
			t.Errorf("%s: stored are %+v, %v, and %v", name, doc, err, storage.keys(""))
		}
	}
}

func TestAStorageThatFailsIsReportedOnce(t *testing.T) {
	o, storage, inForce := newOverrides(t)
	core, logs := observer.New(zap.InfoLevel)
	o.logger = zap.New(core)
	if err := o.change(t.Context(), set("app", 25), true); err != nil {
		t.Fatal(err)
	}
	storage.fail("load")
	for range 3 {
		if o.sync(t.Context()) || inForce.of("app") != 25 {
			t.Errorf("%v %% is in force", inForce.of("app"))
		}
	}
	storage.fail("")
	for range 3 {
		o.sync(t.Context())
	}
	if failed, again := logs.FilterMessageSnippet("cannot be read").Len(), logs.FilterMessageSnippet("can be read again").Len(); failed != 1 || again != 1 {
		t.Errorf("three failures are logged %d times, and their end %d times", failed, again)
	}
}

func TestAChangeThatChangesNothingIsNotWritten(t *testing.T) {
	o, storage, _ := newOverrides(t)
	if err := o.change(t.Context(), keep, false); err != nil {
		t.Fatal(err)
	}
	if keys := storage.keys(overridesKey); len(keys) > 0 {
		t.Errorf("stored are %v", keys)
	}
}

func TestAChangeMadeWhileTheStorageIsReadStaysInForce(t *testing.T) {
	o, storage, inForce := newOverrides(t)
	if err := o.change(t.Context(), set("app", 25), true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o.storage = &overtakenStorage{storage, func() {
			o.storage = storage
			if err := o.change(t.Context(), set("app", 50), true); err != nil {
				t.Error(err)
			}
		}}
		o.sync(t.Context())
		if got := inForce.of("app"); got != 50 {
			t.Errorf("%v %% is in force after 50 %% was acknowledged", got)
		}
		if err := o.change(t.Context(), set("app", 25), true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASlowStorageTimesOut(t *testing.T) {
	o, storage, inForce := newOverrides(t)
	storage.fail("hang")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := o.change(ctx, set("app", 25), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the change reports %v", err)
	}
	if storage.locked() || inForce.of("app") != 0 {
		t.Error("the change left the storage locked, or is in force")
	}
}

// A storage that heeds no context: the change ends in time, and the lock is not left behind.
func TestAStorageThatHangsTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, operation := range []string{"lock", "load", "store"} {
			o, storage, inForce := newOverrides(t)
			storage.stall(operation, time.Minute)
			began := time.Now()
			err := o.change(t.Context(), set("app", 25), true)
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > storageTimeout+time.Second {
				t.Errorf("%s hangs: after %s the change reports %v", operation, took, err)
			}
			storage.stall("", 0)
			time.Sleep(2 * time.Minute)
			if storage.locked() {
				t.Errorf("%s hangs: the storage stays locked", operation)
			}
			if stored := storage.get(overridesKey); operation != "store" && (stored != nil || inForce.of("app") != 0) {
				t.Errorf("%s hangs: a change that has failed is stored later: %s", operation, stored)
			}
		}
	})
}

func TestALockThatIsStuckIsNamed(t *testing.T) {
	files := &certmagic.FileStorage{Path: t.TempDir()}
	if err := files.Lock(t.Context(), overridesKey); err != nil {
		t.Fatal(err)
	}
	o, _, _ := newOverrides(t)
	o.storage = files
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := o.change(ctx, set("app", 25), true)
	if err == nil || !strings.Contains(err.Error(), "its holder has had it since "+time.Now().Format("2006-01-02")) ||
		!strings.Contains(err.Error(), filepath.Join(files.Path, "locks", "proxyos_overrides.json.lock")) && !strings.Contains(err.Error(), "delete "+files.Path) {
		t.Errorf("the change reports %v", err)
	}
	if err := files.Unlock(t.Context(), overridesKey); err != nil {
		t.Fatal(err)
	}
}

// splits is what overrides have put in force.
type splits struct{ doc document }

func (s *splits) of(route string) float64 {
	if o := s.doc.Routes[route]; o != nil {
		return o.TrafficSplit
	}
	return 0
}

func newOverrides(t *testing.T) (*overrideStore, *memoryStorage, *splits) {
	t.Helper()
	return newOverridesOn(&memoryStorage{values: make(map[string][]byte)})
}

func newOverridesOn(storage *memoryStorage) (*overrideStore, *memoryStorage, *splits) {
	s := new(splits)
	store := newOverrideStore(storage, "test", func(doc document, _ bool) { s.doc = doc }, zap.NewNop())
	store.memory = newMemory()
	return store, storage, s
}

func set(route string, percent float64) edit {
	return func(doc *document) (bool, error) {
		doc.Routes[route] = newOverride(percent, 0, "")
		return true, nil
	}
}

// keep is an edit that changes nothing.
func keep(*document) (bool, error) { return false, nil }

var errBroken = errors.New("the storage is broken")

// memoryStorage is a storage that can fail.
type memoryStorage struct {
	certmagic.Storage // what is not implemented here panics
	mu                sync.Mutex
	values            map[string][]byte
	broken            string // the operation that fails
	stalled           string // the operation that takes long
	duration          time.Duration
	locks             atomic.Int32
}

// overtakenStorage is a storage in which something happens after a document is read and
// before it is delivered.
type overtakenStorage struct {
	*memoryStorage
	meanwhile func()
}

func (s *overtakenStorage) Load(ctx context.Context, key string) ([]byte, error) {
	raw, err := s.memoryStorage.Load(ctx, key)
	s.meanwhile()
	return raw, err
}

func (s *memoryStorage) fail(operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = operation
}

func (s *memoryStorage) fails(operation string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken == operation
}

func (s *memoryStorage) locked() bool { return s.locks.Load() > 0 }

func (s *memoryStorage) get(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

func (s *memoryStorage) put(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.values, key); value != nil {
		s.values[key] = value
	}
}

func (s *memoryStorage) keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.values)), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

// stall lets an operation take a while, whatever the context says.
func (s *memoryStorage) stall(operation string, duration time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled, s.duration = operation, duration
}

func (s *memoryStorage) try(ctx context.Context, operation string) error {
	s.mu.Lock()
	wait := time.Duration(0)
	if s.stalled == operation {
		wait = s.duration
	}
	s.mu.Unlock()
	time.Sleep(wait)
	if s.fails(operation) {
		return errBroken
	}
	if operation == "load" && s.fails("hang") {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *memoryStorage) Lock(ctx context.Context, _ string) error {
	if err := s.try(ctx, "lock"); err != nil {
		return err
	}
	s.locks.Add(1)
	return nil
}

func (s *memoryStorage) Unlock(ctx context.Context, _ string) error {
	s.locks.Add(-1)
	return ctx.Err() // as of a storage for which an ended context is too late
}

func (s *memoryStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if err := s.try(ctx, "load"); err != nil {
		return nil, err
	}
	if value := s.get(key); value != nil && !s.fails("deny") {
		return value, nil
	}
	return nil, fs.ErrNotExist
}

func (s *memoryStorage) Store(ctx context.Context, key string, value []byte) error {
	if err := s.try(ctx, "store"); err != nil {
		return err
	}
	s.put(key, value)
	return nil
}

func (s *memoryStorage) List(ctx context.Context, prefix string, _ bool) ([]string, error) {
	return s.keys(prefix + "/"), s.try(ctx, "list")
}

func (s *memoryStorage) Delete(ctx context.Context, key string) error {
	s.put(key, nil)
	return s.try(ctx, "delete")
}

// deafStorage never answers while it is deaf, and does not heed the context.
type deafStorage struct {
	*memoryStorage
	deaf chan struct{} // closed once it hears again
}

func (s *deafStorage) Load(ctx context.Context, key string) ([]byte, error) {
	<-s.deaf
	return s.memoryStorage.Load(ctx, key)
}

// One read that hangs is reported, does not hold up the others for good, and ends.
func TestAReadThatNeverReturnsIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, memory, splits := newOverrides(t)
		storage := &deafStorage{memory, make(chan struct{})}
		core, logs := observer.New(zap.InfoLevel)
		store := newOverrideStore(storage, "test", func(doc document, _ bool) { splits.doc = doc }, zap.New(core))
		store.memory = newMemory()
		memory.put(overridesKey, []byte(`{"format":1,"routes":{"app":{"traffic_split":5}}}`))
		for range 3 {
			store.sync(t.Context())
		}
		if got := logs.FilterMessageSnippet("cannot be read").Len(); got != 1 {
			t.Errorf("it is logged %d times", got)
		}
		close(storage.deaf)
		synctest.Wait()
		if store.sync(t.Context()); splits.doc.Routes["app"] == nil {
			t.Error("once the storage answers, it is not followed")
		}
	})
}

// A document of a newer program that is damaged then is not ours to write, nor to set aside.
func TestADamagedDocumentOfANewerProgramIsLeftAlone(t *testing.T) {
	store, storage, splits := newOverrides(t)
	storage.put(overridesKey, []byte(`{"format":2.0,"routes":{"app":{"traffic_split":5}}}`))
	store.sync(t.Context())
	if splits.doc.Routes["app"] == nil {
		t.Fatal("a document of a newer program is not followed")
	}
	storage.put(overridesKey, []byte("damaged"))
	for range 3 {
		if !store.sync(t.Context()) {
			t.Fatal("the damage is not seen")
		}
		err := store.change(t.Context(), func(*document) (bool, error) { return false, nil }, false)
		if newer, ok := errors.AsType[*newerFormatError](err); !ok || newer.format != 2 {
			t.Errorf("the error is %v", err)
		}
	}
	if keys, _ := storage.List(t.Context(), "proxyos", false); len(keys) != 1 {
		t.Errorf("stored is %v", keys)
	}
}
