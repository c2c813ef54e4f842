package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestDocumentsThatAreDamaged(t *testing.T) {
	for _, text := range []string{
		"", " ", "null", "{}", "[]", "7", `{"version":`, `{"version":1,"routes":{}}x`, `{"version":1}{"version":2}`,
		`{"version":0,"routes":{}}`, `{"version":-1}`, `{"version":1.5}`, `{"version":9007199254740993}`,
		`{"version":1,"more":2}`, `{"version":1,"routes":[]}`, `{"version":1,"routes":{"app":7}}`,
		`{"version":1,"routes":{"app":{"traffic_split":"5"}}}`, `{"version":1,"routes":{"app":{"traffic_split":101}}}`,
		`{"version":1,"routes":{"app":{"traffic_split":5,"against":-1}}}`,
		`{"version":1,"routes":{"app":{"traffic_split":5,"set_at":"yesterday"}}}`,
	} {
		if doc, err := parseDocument([]byte(text)); err == nil {
			t.Errorf("%q is read as %+v", text, doc)
		}
	}
	doc, err := parseDocument([]byte(`{"version":3,"routes":{"app":{"traffic_split":5,"against":1,"set_at":"2024-05-01T10:00:00Z"}}}` + "\n"))
	if err != nil || doc.Version != 3 || doc.Routes["app"].TrafficSplit != 5 {
		t.Errorf("a valid document is read as %+v, %v", doc, err)
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, text := range []string{
		`{"version":3,"routes":{"app":{"traffic_split":5,"against":1,"set_at":"2024-05-01T10:00:00Z","set_by":"ops"}}}`,
		`{"version":1}`, `{"version":1,"routes":null}`, `{"version":1,"routes":{}}`, `{"version":9007199254740992}`, `{"version":1e3}`,
		`{"version":1,"routes":{"":{},"b":{"traffic_split":-0}}}`, `{"version":1,"routes":{"app":{"traffic_split":1e-320,"against":100}}}`,
		`{"version":1,"routes":{"app":{"set_at":"2024-02-29T23:59:59.999999999+23:59"}}}`, `{"version":1,"routes":{"app":{"set_at":null}}}`,
		`{"version":1,"version":2}`, `{"VERSION":1}`, `{"version":1}x`, `null`, ``, "{\"version\":1,\"routes\":{\"\xff\":{},\"\\ud800\":{}}}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := parseDocument(raw)
		if err != nil {
			return
		}
		if doc.Version == 0 || doc.Version > maxVersion {
			t.Errorf("version %d is accepted", doc.Version)
		}
		for name, o := range doc.Routes {
			if checkPercent(o.TrafficSplit) != nil || checkPercent(o.Against) != nil {
				t.Errorf("route %q: %v against %v is accepted", name, o.TrafficSplit, o.Against)
			}
		}
		encoded, err := json.MarshalIndent(doc, "", "\t") // as it is stored
		if err != nil {
			t.Fatalf("%q is read, but cannot be stored: %v", raw, err)
		}
		back, err := parseDocument(encoded)
		if err != nil {
			t.Fatalf("%q is read, but not once it is stored as\n%s\n%v", raw, encoded, err)
		}
		same := maps.EqualFunc(back.Routes, doc.Routes, func(a, b *override) bool {
			return a.TrafficSplit == b.TrafficSplit && a.Against == b.Against && a.SetAt.Equal(b.SetAt) && a.SetBy == b.SetBy
		})
		if back.Version != doc.Version || !same {
			t.Errorf("%q is read as %+v, and once it is stored as %+v", raw, doc, back)
		}
	})
}

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
	if err := o.change(t.Context(), set("app", 25)); err != nil {
		t.Fatal(err)
	}
	if storage.locked() {
		t.Error("the storage is still locked")
	}
}

func TestAChangeThatCannotBeStoredChangesNothing(t *testing.T) {
	for _, operation := range []string{"lock", "load", "store"} {
		o, storage, inForce := newOverrides(t)
		if err := o.change(t.Context(), set("app", 25)); err != nil {
			t.Fatal(err)
		}
		stored := string(storage.get(overridesKey))
		storage.fail(operation)
		err := o.change(t.Context(), set("app", 50))
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
		if err := writer.change(t.Context(), set("app", percent)); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []*overrideStore{one, other} {
		if err := o.sync(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if inForceOfOne.of("app") != 40 || inForceOfOther.of("app") != 40 || one.version != other.version {
		t.Errorf("in force are %v %% (version %d) and %v %% (version %d), want 40 %% in both", inForceOfOne.of("app"), one.version, inForceOfOther.of("app"), other.version)
	}
}

func TestANewDocumentIsNewerThanALostOne(t *testing.T) {
	for name, lose := range map[string]func(*memoryStorage){
		"deleted": func(s *memoryStorage) { s.put(overridesKey, nil) },
		"damaged": func(s *memoryStorage) { s.put(overridesKey, []byte("xx")) },
	} {
		old, storage, inForce := newOverrides(t)
		for percent := range 20 {
			if err := old.change(t.Context(), set("app", float64(percent))); err != nil {
				t.Fatal(err)
			}
		}
		// versions begin with the time in milliseconds, and old has changed faster than that
		proxytest.Eventually(t, "the time overtakes the version", func() bool { return firstVersion() > old.version })
		lose(storage)
		fresh, _, _ := newOverridesOn(storage) // an instance that was started just now
		if err := fresh.change(t.Context(), set("app", 77)); err != nil {
			t.Fatal(err)
		}
		if err := old.sync(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := inForce.of("app"); got != 77 {
			t.Errorf("%s: the instance that knew the lost document has %v %% in force, want 77", name, got)
		}
	}
}

func TestADamagedDocumentIsSetAsideAndReported(t *testing.T) {
	o, storage, inForce := newOverrides(t)
	if err := o.change(t.Context(), set("app", 25)); err != nil {
		t.Fatal(err)
	}
	storage.put(overridesKey, []byte(`{"version":`))
	if err := o.sync(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if inForce.of("app") != 25 {
		t.Errorf("now %v %% applies", inForce.of("app"))
	}
	doc, err := parseDocument(storage.get(overridesKey))
	if err != nil || doc.Routes["app"].TrafficSplit != 25 {
		t.Errorf("it is replaced with %+v, %v", doc, err)
	}
	aside := storage.keys("proxyos/overrides.damaged-")
	if len(aside) != 1 || string(storage.get(aside[0])) != `{"version":` {
		t.Errorf("set aside are %v", aside)
	}
}

func TestAStorageThatFailsIsReportedOnce(t *testing.T) {
	for _, operation := range []string{"load", "store"} {
		o, storage, _ := newOverrides(t)
		core, logs := observer.New(zap.InfoLevel)
		o.logger = zap.New(core)
		storage.put(overridesKey, []byte("damaged")) // so that store is tried, too
		storage.fail(operation)
		for range 3 {
			if err := o.sync(t.Context(), false); !errors.Is(err, errBroken) {
				t.Errorf("%s fails, and sync reports %v", operation, err)
			}
		}
		if got := logs.FilterMessageSnippet("cannot be read").Len(); got != 1 {
			t.Errorf("%s fails three times, and is logged %d times", operation, got)
		}
		storage.fail("")
		for range 3 {
			if err := o.sync(t.Context(), false); err != nil {
				t.Error(err)
			}
		}
		if got := logs.FilterMessageSnippet("can be read again").Len(); got != 1 {
			t.Errorf("%s works again, and that is logged %d times", operation, got)
		}
	}
}

func TestAChangeThatChangesNothingIsNotWritten(t *testing.T) {
	o, storage, _ := newOverrides(t)
	if err := o.change(t.Context(), func(*document) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if keys := storage.keys(""); len(keys) > 0 {
		t.Errorf("stored are %v", keys)
	}
}

func TestAChangeMadeWhileTheStorageIsReadStaysInForce(t *testing.T) {
	o, storage, inForce := newOverrides(t)
	if err := o.change(t.Context(), set("app", 25)); err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		o.storage = &overtakenStorage{storage, func() {
			o.storage = storage
			if err := o.change(t.Context(), set("app", 50)); err != nil {
				t.Error(err)
			}
		}}
		if err := o.sync(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		if got := inForce.of("app"); got != 50 {
			t.Errorf("read again: %v: %v %% is in force after 50 %% was acknowledged", again, got)
		}
		if err := o.change(t.Context(), set("app", 25)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASlowStorageTimesOut(t *testing.T) {
	o, storage, inForce := newOverrides(t)
	storage.fail("hang")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := o.change(ctx, set("app", 25)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the change reports %v", err)
	}
	if storage.locked() || inForce.of("app") != 0 {
		t.Error("the change left the storage locked, or is in force")
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
	return &overrideStore{
		storage: storage,
		logger:  zap.NewNop(),
		apply:   func(doc document, _ bool) { s.doc = doc },
		held:    func() document { return document{Routes: maps.Clone(s.doc.Routes)} },
	}, storage, s
}

func set(route string, percent float64) func(*document) bool {
	return func(doc *document) bool {
		doc.Routes[route] = newOverride(percent, 0, "")
		return true
	}
}

var errBroken = errors.New("the storage is broken")

// memoryStorage is a storage that can fail.
type memoryStorage struct {
	certmagic.Storage // what is not implemented here panics
	mu                sync.Mutex
	values            map[string][]byte
	broken            string // the operation that fails
	locks             int
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

func (s *memoryStorage) fail(operation string) { s.broken = operation }
func (s *memoryStorage) locked() bool          { return s.locks > 0 }

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

func (s *memoryStorage) try(ctx context.Context, operation string) error {
	if s.broken == operation {
		return errBroken
	}
	if s.broken == "hang" && operation == "load" {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *memoryStorage) Lock(ctx context.Context, _ string) error {
	if err := s.try(ctx, "lock"); err != nil {
		return err
	}
	s.locks++
	return nil
}

func (s *memoryStorage) Unlock(ctx context.Context, _ string) error {
	s.locks--
	return ctx.Err() // as of a storage for which an ended context is too late
}

func (s *memoryStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if err := s.try(ctx, "load"); err != nil {
		return nil, err
	}
	if value := s.get(key); value != nil {
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
