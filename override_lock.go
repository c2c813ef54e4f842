package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// locked does something while the document is locked.
func (s *overrideStore) locked(ctx context.Context, do func() error) error {
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

// holder says who has kept the document locked until the time was up, and what to do.
func (s *overrideStore) holder(ctx context.Context) string {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ""
	}
	text := fmt.Sprintf("; another instance has kept it locked for %s", storageTimeout)
	files, ok := s.storage.(interface{ Filename(key string) string })
	if !ok {
		return text + ", or one that was killed has left the lock behind; try again, or delete the lock in the storage if it stays"
	}
	name := files.Filename("locks/" + certmagic.StorageKeys.Safe(overridesKey) + ".lock")
	var lock struct{ Created, Updated time.Time }
	if raw, err := os.ReadFile(name); err == nil && json.Unmarshal(raw, &lock) == nil && !lock.Created.IsZero() {
		text = fmt.Sprintf("; its holder has had it since %s, and last confirmed that at %s",
			lock.Created.Local().Format(time.DateTime), lock.Updated.Local().Format(time.TimeOnly))
	}
	return text + fmt.Sprintf("; try again, or delete %s if no instance runs that holds it", name)
}
