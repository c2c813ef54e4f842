package proxyos

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// overridesOnFiles returns a store on the file storage in a folder, and what it logs.
func overridesOnFiles(folder, instance string) (*overrideStore, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	o := newOverrideStore(&certmagic.FileStorage{Path: folder}, instance, func(document, bool) {}, zap.New(core))
	o.memory = newMemory()
	return o, logs
}

// lockFolder returns a folder for a file storage in a bubble. At the end, it waits for what keeps locks fresh.
func lockFolder(t *testing.T) string {
	folder := t.TempDir()
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	})
	return folder
}

// A lock of an instance that was killed is kept fresh by whoever has had it in the five seconds before.
func TestALockThatWasLeftBehindIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, logs := overridesOnFiles(lockFolder(t), "one")
		if err := o.change(t.Context(), set("app", 10), true); err != nil {
			t.Fatal(err)
		}
		if err := o.storage.Lock(t.Context(), overridesKey); err != nil { // nobody unlocks it
			t.Fatal(err)
		}
		time.Sleep(time.Second) // so that no attempt reads the lock at the instant at which it is written
		began := time.Now()
		attempts := 0
		for o.change(t.Context(), set("app", 20), true) != nil {
			if attempts++; attempts > 10 {
				t.Fatal("the lock stays")
			}
		}
		if took := time.Since(began); took < abandonedAfter || took > abandonedAfter+storageTimeout {
			t.Errorf("the lock was removed after %s", took)
		}
		if logged := logs.FilterMessageSnippet("removed a lock"); logged.Len() != 1 {
			t.Errorf("logged is %v", logs.All())
		}
		if err := o.change(t.Context(), set("app", 30), true); err != nil {
			t.Error(err)
		}
	})
}

// Locks that others hold one after the other are left alone, however long that lasts.
func TestLocksThatAreHeldInTurnsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := lockFolder(t)
		o, logs := overridesOnFiles(folder, "one")
		other := &certmagic.FileStorage{Path: folder}
		for range 10 {
			if err := other.Lock(t.Context(), overridesKey); err != nil {
				t.Fatal(err)
			}
			if err := o.change(t.Context(), set("app", 10), true); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("while another has the lock, a change ends with %v", err)
			}
			if err := other.Unlock(t.Context(), overridesKey); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if logged := logs.FilterMessageSnippet("removed a lock"); logged.Len() != 0 {
			t.Errorf("logged is %v", logged.All())
		}
	})
}

// A lock that is taken anew just when it is to be removed is put back.
func TestALockThatIsTakenAnewIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := lockFolder(t)
		o, _ := overridesOnFiles(folder, "one")
		other := &certmagic.FileStorage{Path: folder}
		if err := other.Lock(t.Context(), overridesKey); err != nil {
			t.Fatal(err)
		}
		name, lock, err := o.lockFile()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := other.Lock(t.Context(), overridesKey); err != nil {
			t.Fatal(err)
		}
		if err := o.removeLock(name, lock.Created); err != nil {
			t.Fatal(err)
		}
		if now, err := readLock(name); err != nil || now.Created.Equal(lock.Created) {
			t.Errorf("the lock is %+v, %v, and was %+v", now, err, lock)
		}
		if err := other.Unlock(t.Context(), overridesKey); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(folder + "/locks"); err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	})
}
