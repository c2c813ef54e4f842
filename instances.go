package proxyos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// instancesFolder has what the instances write about themselves, by ID.
const instancesFolder = "proxyos/instances"

const (
	recordInterval = time.Minute     // between two records of an instance that nothing changes
	silentAfter    = 3 * time.Minute // an instance that writes none counts as silent
	forgottenAfter = 24 * time.Hour  // and its record goes
)

// processStart is since when this instance runs.
var processStart = time.Now().UTC().Round(0)

// instanceRecord is what an instance writes about itself, so that others know of it.
type instanceRecord struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"` // of its host
	Version    string             `json:"version,omitempty"`
	Since      time.Time          `json:"since"`
	Heard      time.Time          `json:"heard"`
	Configured map[string]float64 `json:"configured"`    // the configured percentages, by route
	Shares     map[string]float64 `json:"traffic_split"` // those in force
}

// record returns what this instance is to write about itself.
func (s *steering) record(now time.Time) instanceRecord {
	record := instanceRecord{ID: s.instance, Since: processStart, Heard: now.UTC().Round(0),
		Configured: make(map[string]float64), Shares: make(map[string]float64)}
	record.Name, _ = os.Hostname() // the ID will do
	record.Version = moduleVersion()
	for _, route := range s.routes.all() {
		if route.name != "" && route.staging != nil {
			record.Configured[route.name] = route.split.configured.percent
			record.Shares[route.name] = route.split.current().percent
		}
	}
	return record
}

// announce writes this instance's record if it has changed, or is a minute old: in the
// background, since the storage may be slow.
func (s *steering) announce(ctx context.Context) {
	now := time.Now()
	record, last := s.record(now), s.announced.Load()
	age := time.Duration(-1)
	if last != nil {
		age = now.Sub(last.Heard) // negative where the clock was set back
	}
	if age >= 0 && age < recordInterval && maps.Equal(record.Configured, last.Configured) && maps.Equal(record.Shares, last.Shares) {
		return
	}
	if !s.isRunning() || !s.announcing.CompareAndSwap(false, true) {
		return
	}
	s.background.Go(func() {
		defer s.announcing.Store(false)
		ctx, cancel := context.WithTimeout(ctx, storageTimeout)
		defer cancel()
		raw, err := json.Marshal(record)
		if err == nil {
			err = s.store.storage.Store(ctx, instancesFolder+"/"+s.instance, raw)
		}
		if err != nil { // the document's own failures are logged
			s.logger.Debug("this instance could not be announced to others", zap.Error(err))
			return
		}
		s.announced.Store(&record)
		if last == nil || now.Sub(s.purged) > time.Hour {
			s.purged = now
			s.purge(ctx, now)
		}
	})
}

// purge removes the records of instances that are long gone.
func (s *steering) purge(ctx context.Context, now time.Time) {
	records, err := s.instances(ctx)
	for _, record := range records {
		if now.Sub(record.Heard).Abs() > forgottenAfter {
			err = errors.Join(err, s.store.storage.Delete(ctx, instancesFolder+"/"+record.ID))
		}
	}
	if err != nil {
		s.logger.Debug("records of instances that are gone could not be removed", zap.Error(err))
	}
}

// instances returns the records of all instances, by name. One that cannot be read has its ID
// only.
func (s *steering) instances(ctx context.Context) ([]instanceRecord, error) {
	records := []instanceRecord{}
	keys, err := s.store.storage.List(ctx, instancesFolder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return records, nil
	}
	if err != nil {
		return records, fmt.Errorf("listing %s in the storage: %w", instancesFolder, err)
	}
	for _, key := range keys {
		id := strings.TrimPrefix(key, instancesFolder+"/")
		raw, err := s.store.storage.Load(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var record instanceRecord
		if err != nil || json.Unmarshal(raw, &record) != nil || record.ID != id {
			record = instanceRecord{ID: id} // never heard of
		}
		records = append(records, record)
	}
	slices.SortFunc(records, func(a, b instanceRecord) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return records, nil
}

// configuredSplit is the configured split of a route on an instance, as it last said.
type configuredSplit struct {
	instance string
	percent  float64
	heard    time.Time
}

// configuredElsewhere returns the configured splits of a route on the instances that are heard
// of. What cannot be read in a short time is not known.
func (s *steering) configuredElsewhere(ctx context.Context, route string) []configuredSplit {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout/5)
	defer cancel()
	records, err := s.instances(ctx)
	if err != nil {
		s.logger.Debug("the other instances are not known", zap.Error(err))
	}
	var all []configuredSplit
	for _, record := range records {
		percent, ok := record.Configured[route]
		if ok && checkPercent(percent) == nil && !record.silent(time.Now()) && len(all) < maxKnown {
			all = append(all, configuredSplit{record.ID, percent, record.Heard})
		}
	}
	return all
}

// silent tells whether the instance has not been heard of for a while. A clock that is far
// ahead is not believed.
func (r instanceRecord) silent(now time.Time) bool { return now.Sub(r.Heard).Abs() > silentAfter }

func (a *adminAPI) serveInstances(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return methodNotAllowed(w, r, http.MethodGet)
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), storageTimeout)
	defer cancel()
	records, err := app.steering.instances(ctx)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	return respond(w, records)
}
