package proxyos

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// damagedPrefix begins the keys of documents that were set aside.
const damagedPrefix = "proxyos/overrides.damaged-"

// keptDamaged is how many of those are kept.
const keptDamaged = 5

// damagedError says that the stored document cannot be read.
type damagedError struct {
	raw   []byte
	cause error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("the stored document %s is damaged: %v", overridesKey, e.cause)
}

func (e *damagedError) Unwrap() error { return e.cause }

// prove checks that the storage delivers what it is given. Some report a failure to read as
// a missing key, and what is there must not be replaced unseen.
func (s *overrideStore) prove(ctx context.Context) error {
	key, value := "proxyos/proof-"+s.instance, []byte(rand.Text())
	if err := s.storage.Store(ctx, key, value); err != nil {
		return fmt.Errorf("writing %s to the storage: %w", key, err)
	}
	if back, err := s.storage.Load(ctx, key); err != nil || !bytes.Equal(back, value) {
		return fmt.Errorf("the storage does not deliver what it was given as %s: it has %d bytes, error %v", key, len(back), err)
	}
	_ = s.storage.Delete(ctx, key) // the next one replaces it
	return nil
}

// setAside keeps a damaged document under another key, and deletes the oldest such ones.
func (s *overrideStore) setAside(ctx context.Context, damaged *damagedError) error {
	s.memory.mu.Lock()
	known := s.memory.aside != nil && bytes.Equal(s.memory.aside, damaged.raw)
	s.memory.mu.Unlock()
	if known {
		return nil
	}
	key := damagedPrefix + time.Now().UTC().Format("20060102T150405.000") + ".json"
	if err := s.storage.Store(ctx, key, damaged.raw); err != nil {
		return fmt.Errorf("setting %s aside as %s: %w", overridesKey, key, err)
	}
	s.memory.mu.Lock()
	s.memory.aside = append([]byte{}, damaged.raw...)
	s.memory.mu.Unlock()
	s.logger.Error("the stored splits are damaged; they are set aside and replaced with the current ones",
		zap.String("key", overridesKey), zap.String("set_aside_as", key), zap.Error(damaged.cause))
	keys, err := s.storage.List(ctx, "proxyos", false)
	keys = slices.DeleteFunc(keys, func(key string) bool { return !strings.HasPrefix(key, damagedPrefix) })
	slices.Sort(keys)
	for len(keys) > keptDamaged && err == nil {
		err = s.storage.Delete(ctx, keys[0])
		keys = keys[1:]
	}
	if err != nil {
		s.logger.Warn("damaged documents of the past could not be deleted", zap.String("keys", damagedPrefix+"*"), zap.Error(err))
	}
	return nil
}
