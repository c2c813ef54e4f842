package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// abandonedAfter is how long a lock must have been held for all that this instance has seen before it counts
// as left behind by an instance that was killed. No change takes that long.
const abandonedAfter = 2 * storageTimeout

// seenLock is somebody's lock in a file storage, and when this instance has first met it. Clocks of other
// instances play no part.
type seenLock struct{ created, first time.Time }

// locked does something while the document is locked. It is called by one goroutine at a time.
func (s *overrideStore) locked(ctx context.Context, do func() error) error {
	if err := s.breakAbandoned(); err != nil {
		s.logger.Warn("a lock that was left behind could not be removed", zap.String("key", overridesKey), zap.Error(err))
	}
	if err := s.storage.Lock(ctx, overridesKey); err != nil {
		return fmt.Errorf("locking %s in the storage: %w%s", overridesKey, err, s.holder(ctx))
	}
	err := ctx.Err()
	if err == nil {
		err = do()
	}
	// unlock even if the context has ended in the meantime
	if unlockErr := s.storage.Unlock(context.WithoutCancel(ctx), overridesKey); unlockErr != nil {
		s.logger.Error("the stored splits could not be unlocked", zap.String("key", overridesKey), zap.Error(unlockErr))
	}
	return err
}

// breakAbandoned removes a lock that was left behind in a file storage. CertMagic does so only where no other
// instance has held that lock in the five seconds before: what keeps a lock fresh goes by its name, so that of a
// living instance keeps that of a killed one, too, and without end.
func (s *overrideStore) breakAbandoned() error {
	name, lock, err := s.lockFile()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.seen = seenLock{}
		return nil
	case err == nil && !lock.Created.Equal(s.seen.created):
		s.seen = seenLock{lock.Created, time.Now()}
		return nil
	case s.seen.created.IsZero() || time.Since(s.seen.first) < abandonedAfter:
		return nil // also while it is being written, and tells nothing
	}
	return s.removeLock(name, s.seen.created)
}

// removeLock removes a lock by when it was made. Another instance may have removed it since, and a third have a
// lock of its own by now, which is put back.
func (s *overrideStore) removeLock(name string, created time.Time) error {
	aside := name + "." + s.instance
	if err := os.Rename(name, aside); err != nil {
		return err
	}
	if taken, err := readLock(aside); err != nil || !taken.Created.Equal(created) {
		return errors.Join(os.Link(aside, name), os.Remove(aside))
	}
	s.logger.Warn("removed a lock of the stored splits that was left behind by an instance that was killed",
		zap.String("key", overridesKey), zap.Time("locked", created))
	return os.Remove(aside)
}

// fileLock is what a lock of Caddy's file storage says.
type fileLock struct{ Created, Updated time.Time }

// lockFile returns the file of the document's lock, and what it says. Without a file storage there is none.
func (s *overrideStore) lockFile() (name string, lock fileLock, err error) {
	files, ok := s.storage.(interface{ Filename(key string) string })
	if !ok {
		return "", fileLock{}, fs.ErrNotExist
	}
	name = files.Filename("locks/" + certmagic.StorageKeys.Safe(overridesKey) + ".lock")
	lock, err = readLock(name)
	return name, lock, err
}

// readLock reads a lock. As CertMagic does, it ignores what follows: two instances that keep the same lock
// fresh can write over each other.
func readLock(name string) (lock fileLock, err error) {
	file, err := os.Open(name)
	if err != nil {
		return fileLock{}, err
	}
	defer file.Close()
	err = json.NewDecoder(file).Decode(&lock)
	return lock, err
}

// holder says who has kept the document locked until the time was up, and what to do.
func (s *overrideStore) holder(ctx context.Context) string {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ""
	}
	text := fmt.Sprintf("; another instance has kept it locked for %s", storageTimeout)
	name, lock, err := s.lockFile()
	if name == "" {
		return text + ", or one that was killed has left the lock behind; try again, or delete the lock in the storage if it stays"
	}
	if err == nil {
		text = fmt.Sprintf("; its holder has had it since %s, and last confirmed that at %s",
			lock.Created.Local().Format(time.DateTime), lock.Updated.Local().Format(time.TimeOnly))
	}
	return text + fmt.Sprintf("; try again, or delete %s if no instance runs that holds it", name)
}
