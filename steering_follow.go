package proxyos

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// startupWait is how long the first requests after a start wait for the splits that were
// set at run time, if the storage is slow.
const startupWait = time.Second

// stopWait is how long a config that stops waits for what it is still writing.
const stopWait = time.Second

// startInterval is how often a config looks whether it runs.
const startInterval = 100 * time.Millisecond

// start follows the storage until the context ends. It waits until the storage has been read
// once, or only for startupWait if the storage is slow.
func (s *steering) start(ctx context.Context) {
	known, _ := memories.LoadOrStore("", newMemory())
	s.store.memory = known.(*memory)
	ctx, s.cancel = context.WithCancel(ctx)
	s.background.Go(func() { s.follow(ctx) })
	s.background.Go(func() { s.runReleases(ctx) })
	select {
	case <-s.synced:
	case <-time.After(startupWait):
		s.slow.Store(true)
		s.logger.Warn("the storage is slow; traffic splits that were set at run time apply once it answers")
	}
}

// stop leaves the splits to the config that runs from now on. That one looks at once whether a
// change was made here after it read the storage.
func (s *steering) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	if successor := s.running(); successor != nil && successor != s {
		select {
		case successor.wake <- struct{}{}:
		default: // it is already asked to
		}
	}
	_, _ = memories.Delete("") // there is nothing to destroy
	s.cancel()
	idle := make(chan struct{})
	go func() {
		s.background.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-time.After(stopWait): // the storage hangs
	}
}

// synchronise reads the storage.
func (s *steering) synchronise(ctx context.Context) (repair bool) {
	s.settle()
	return s.store.sync(ctx)
}

// settle begins to decide about the routes once this config runs: before that, it has left them to
// the config before. What is set from its loading on is meant for it as it is, unless it could not
// read the storage then.
func (s *steering) settle() {
	if !s.begin() {
		return
	}
	s.store.follow()
	if !s.store.hasRead.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = true
}

// begin notes that this config runs, and what had been set when it was loaded. It tells whether it
// is still to settle.
func (s *steering) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled || !s.isRunning() {
		return false
	}
	s.ran = true
	if s.loaded == nil {
		return true
	}
	for _, route := range s.routes.all() {
		if route.name != "" {
			s.see(route, s.loaded.Routes[route.name])
		}
	}
	s.loaded, s.settled = nil, true
	return true
}

// follow puts the stored overrides in force, at once and then at each interval, until the
// context ends.
func (s *steering) follow(ctx context.Context) {
	repair := s.store.sync(ctx)
	if s.store.hasRead.Load() {
		loaded, _, _ := s.store.memory.latest()
		s.loaded = &loaded
	}
	close(s.synced)
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	start := time.NewTicker(startInterval) // until this config runs
	defer start.Stop()
	for {
		select {
		case <-start.C:
			if !s.isRunning() {
				continue
			}
			s.settle()
			start.Stop()
		case <-ticker.C:
			repair = s.synchronise(ctx)
		case <-s.wake:
			s.settle()
			s.store.follow()
			repair = s.synchronise(ctx)
		case <-ctx.Done():
			return
		}
		if repair { // the record may be lost, too
			s.announced.Store(nil)
		}
		s.tend(ctx, repair)
		s.announce(ctx)
	}
}

// await waits until the stored overrides are in force, or only for startupWait if the storage
// is slow. Usually there is nothing to wait for.
func (s *steering) await() {
	select {
	case <-s.synced:
		return
	default:
	}
	if s.slow.Load() {
		return
	}
	select {
	case <-s.synced:
	case <-time.After(startupWait):
		s.slow.Store(true)
	}
}

// tend reviews the overrides, and writes to the storage what it lacks: in the background,
// so that a storage that is locked does not keep this instance from following.
func (s *steering) tend(ctx context.Context, repair bool) {
	if untold := s.review(time.Now()); !untold && !repair {
		s.untold.Store(false)
		return
	}
	if !s.isRunning() || !s.tending.CompareAndSwap(false, true) {
		return
	}
	s.background.Go(func() {
		defer s.tending.Store(false)
		switch err := s.store.change(ctx, s.note, false); {
		case err == nil:
			s.untold.Store(false)
		case ctx.Err() == nil && s.untold.CompareAndSwap(false, true):
			s.logger.Error("the storage does not take what this instance has to write; the current splits still apply", zap.Error(err))
		}
	})
}
