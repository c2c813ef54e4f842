package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// phase is how long each part of a cycle takes.
const phase = 4 * time.Second

// cycle changes the share, breaks things and repairs them, all under traffic.
func (s *soak) cycle(ctx context.Context, number int) error {
	split := soakSplits[number%len(soakSplits)]
	if err := s.traffic.pause(func() error { return s.change(ctx, split) }); err != nil {
		return err
	}
	firstStaging := 3
	steps := []struct {
		what     string
		isWindow bool
		do       func(context.Context) error
	}{
		{"calm", true, func(ctx context.Context) error { return s.sleep(ctx, 2*phase) }},
		{"a production upstream killed and restarted", true, func(ctx context.Context) error {
			return s.outage(ctx, s.upstreams[number%firstStaging])
		}},
		{"a staging upstream killed and restarted", true, func(ctx context.Context) error {
			return s.outage(ctx, s.upstreams[firstStaging+number%2])
		}},
		{"ten reloads of the same configuration", true, func(ctx context.Context) error {
			for range 10 {
				if err := s.reload(ctx, "a reload"); err != nil {
					return err
				}
				if err := s.sleep(ctx, phase/10); err != nil {
					return err
				}
			}
			return nil
		}},
		{"all staging upstreams killed and restarted", false, func(ctx context.Context) error {
			return s.outage(ctx, s.upstreams[firstStaging:]...)
		}},
		{"the share changed three times under traffic", false, func(ctx context.Context) error {
			for i := range 3 {
				if err := s.change(ctx, soakSplits[(number+i+1)%len(soakSplits)]); err != nil {
					return err
				}
				if err := s.sleep(ctx, phase/4); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	for _, step := range steps {
		var err error
		if step.isWindow {
			err = s.observe(step.what, func() error { return step.do(ctx) })
		} else {
			err = step.do(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return s.traffic.pause(func() error {
		r, err := s.read(ctx)
		s.readings = append(s.readings, r)
		progress("cycle %d: heap %.1f MiB, memory %.0f MiB, %d goroutines, %d files", number+1, r.heapMiB(), r.resident, r.footprint.goroutines, r.files)
		return err
	})
}

// observe counts the requests of each group while f runs.
func (s *soak) observe(what string, f func() error) error {
	w := window{what: what, split: s.split}
	var inProduction, inStaging, unknown int
	err := s.traffic.pause(func() error {
		inProduction, inStaging, unknown = s.ledger.counts()
		return nil
	})
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return s.traffic.pause(func() error {
		w.production, w.staged, w.unknown = s.ledger.counts()
		w.production, w.staged, w.unknown = w.production-inProduction, w.staged-inStaging, w.unknown-unknown
		s.windows = append(s.windows, w)
		progress("%s at %v %%: %d requests, %d to staging, deviation %.1f", w.what, w.split, w.requests(), w.staged, w.deviation())
		return nil
	})
}

// outage kills upstreams, leaves them dead for a while, and starts them again.
func (s *soak) outage(ctx context.Context, upstreams ...*soakUpstream) error {
	for _, u := range upstreams {
		s.ledger.disrupt(disruption{at: time.Now(), what: "the kill of an upstream of " + u.group, kill: true})
		u.process.kill()
		s.kills++
	}
	if err := s.sleep(ctx, phase); err != nil {
		return err
	}
	for _, u := range upstreams {
		if err := s.restart(ctx, u); err != nil {
			return err
		}
	}
	return s.sleep(ctx, soakFailDuration+time.Second)
}

// change sets another share, in the way that -split-via says.
func (s *soak) change(ctx context.Context, split float64) error {
	s.split = split
	if s.opts.splitVia == "reload" {
		s.written = split
		return s.reload(ctx, "a change of the share by reload")
	}
	body, err := json.Marshal(map[string]float64{"traffic_split": split})
	if err != nil {
		return err
	}
	_, err = s.admin.do(ctx, http.MethodPatch, "/proxyos/routes/"+soakRoute, "application/json", body)
	return err
}

func (s *soak) reload(ctx context.Context, what string) error {
	s.ledger.disrupt(disruption{at: time.Now(), what: what})
	s.reloads++
	err := s.admin.load(ctx, "text/caddyfile", []byte(s.caddyfile()))
	s.ledger.disrupt(disruption{at: time.Now(), what: "the end of " + what})
	return err
}
