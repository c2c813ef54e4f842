package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releasesFolder has what instances have counted, by route and ID of the instance.
const releasesFolder = "proxyos/releases"

// releaseTally is what an instance has counted in a round, as it is stored for the others.
type releaseTally struct {
	Instance        string         `json:"instance"`
	StartedAt       time.Time      `json:"started_at"` // the release
	CountsFrom      uint64         `json:"counts_from"`
	Counts          release.Groups `json:"counts"`
	ProductionFails bool           `json:"production_fails,omitempty"`
	At              time.Time      `json:"at"`
}

// belongsTo tells whether the counts are of the present round.
func (t releaseTally) belongsTo(s *release.State) bool {
	return t.CountsFrom == s.CountsFrom && t.StartedAt.Equal(s.StartedAt)
}

// exchange tells the other instances what this one has counted, and reads what they have: in the
// background, since the storage may be slow. A failure is logged once.
func (s *steering) exchange(ctx context.Context, active []activeRelease) {
	if !s.exchanging.CompareAndSwap(false, true) {
		return
	}
	s.background.Go(func() {
		defer s.exchanging.Store(false)
		timed, cancel := context.WithTimeout(ctx, storageTimeout)
		defer cancel()
		var failures []error
		for _, r := range active {
			if r.release == nil {
				continue
			}
			if err := s.exchangeOf(timed, r); err != nil {
				failures = append(failures, fmt.Errorf("route %q: %w", r.name, err))
			}
		}
		switch err := errors.Join(failures...); {
		case err == nil:
			s.unexchanged.Store(false)
		case ctx.Err() == nil && s.unexchanged.CompareAndSwap(false, true):
			s.logger.Error("what the instances have counted for releases cannot be exchanged; each goes by what it knows", zap.Error(err))
		}
	})
}

func (s *steering) exchangeOf(ctx context.Context, r activeRelease) error {
	folder := releasesFolder + "/" + r.name
	ownKey := folder + "/" + s.instance
	if !r.live.knowsEarlier() {
		earlier, err := s.readTally(ctx, ownKey)
		if err != nil {
			return err
		}
		r.live.goOn(earlier)
	}
	if own := r.live.toTell(s.instance, time.Now().UTC().Round(0)); own != nil {
		if err := s.store.storage.Store(ctx, ownKey, encode(own)); err != nil {
			return err
		}
		r.live.hasTold(*own)
	}
	keys, err := s.store.storage.List(ctx, folder, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var others []releaseTally
	var failures []error
	for _, key := range keys {
		if strings.TrimSuffix(key, "/") == ownKey {
			continue
		}
		one, err := s.readTally(ctx, key)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if one.Instance != "" && time.Since(one.At).Abs() > forgottenAfter {
			failures = append(failures, s.store.storage.Delete(ctx, key)) // nobody can use it
			continue
		}
		others = append(others, one)
	}
	r.live.hear(others)
	return errors.Join(failures...)
}

// readTally reads what an instance has counted. One that is missing or makes no sense is empty.
func (s *steering) readTally(ctx context.Context, key string) (releaseTally, error) {
	raw, err := s.store.storage.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return releaseTally{}, nil
	}
	if err != nil {
		return releaseTally{}, fmt.Errorf("reading %s from the storage: %w", key, err)
	}
	var one releaseTally
	if json.Unmarshal(raw, &one) != nil || one.Counts.Check() != nil {
		return releaseTally{}, nil
	}
	return one, nil
}

// knowsEarlier tells whether it is known what this instance had counted in the round before this
// process began.
func (l *liveRelease) knowsEarlier() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isKnown
}

// goOn goes on from what this instance had counted before this process began.
func (l *liveRelease) goOn(earlier releaseTally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isKnown && l.state != nil && earlier.belongsTo(l.state) {
		l.earlier = earlier.Counts
	}
	l.isKnown = true
}

// toTell returns what this instance is to write; nil if that is what it last wrote, not long ago.
func (l *liveRelease) toTell(instance string, now time.Time) *releaseTally {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil || !l.state.IsActive() {
		return nil
	}
	own := releaseTally{Instance: instance, StartedAt: l.state.StartedAt, CountsFrom: l.state.CountsFrom, Counts: l.ownCounts(),
		ProductionFails: l.tally.ProductionFails(), At: now}
	last := l.told
	if last.belongsTo(l.state) && last.Counts == own.Counts && last.ProductionFails == own.ProductionFails && now.Sub(last.At) < recordInterval {
		return nil
	}
	return &own
}

// hasTold notes what this instance has written.
func (l *liveRelease) hasTold(own releaseTally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = own
}

// hear takes what the other instances have counted.
func (l *liveRelease) hear(others []releaseTally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.others = others
}
