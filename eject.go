package proxyos

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// Eject takes upstreams out for a while that fail much more often than the others of their group.
type Eject struct {
	// How much of an upstream's requests must fail, from above 0 to 1: as answers with a status of
	// 500 or more, or as attempts for whose failure the upstream is to blame. It must also be at least
	// twice as much as with the others of its group together. Required.
	Ratio float64 `json:"ratio"`

	// Of how many requests in the window at least, from 1. Default: 20.
	MinRequests *int `json:"min_requests,omitempty"`

	// How far back to look, from 1s to 10m, in whole seconds. Default: 10s.
	Window caddy.Duration `json:"window,omitempty"`

	// For how long an upstream is out, from 1s to 1h. Each time after the first it is twice as long,
	// up to five minutes; once the upstream has served for five minutes, it begins again. When the
	// time is over it is on trial: it gets one request at a time, until one has not failed.
	// Default: 30s.
	For caddy.Duration `json:"for,omitempty"`

	// How much of a group may be out at once, as a percentage of its upstreams from 0 to 100, rounded
	// down, but at least one; 0 for none. The last one of a group that is available never is. Default: 50.
	MaxPercent *float64 `json:"max_percent,omitempty"`
}

const (
	defaultEjectMin    = 20
	defaultEjectWindow = 10 * time.Second
	defaultEjectFor    = 30 * time.Second
	defaultEjectMax    = 50

	maxEjectWindow = 10 * time.Minute
	maxEjectFor    = time.Hour

	// up to which the time is doubled, and after which it begins again
	maxEjectDoubled = 5 * time.Minute
)

// check rejects what is out of range.
func (e *Eject) check() error {
	window, out := time.Duration(e.Window), time.Duration(e.For)
	switch {
	case !(e.Ratio > 0 && e.Ratio <= 1):
		return fmt.Errorf("eject: a ratio of %v is not above 0 and up to 1; write how much of the requests must fail, such as 0.5 or 50%%", e.Ratio)
	case e.MinRequests != nil && *e.MinRequests < 1:
		return fmt.Errorf("eject: min %d is below 1; write how many requests there must have been, such as %d", *e.MinRequests, defaultEjectMin)
	case window != 0 && (window < time.Second || window > maxEjectWindow || window%time.Second != 0):
		return fmt.Errorf("eject: in %s is not a number of whole seconds from 1s to %s; write how far back to look, such as 10s", window, maxEjectWindow)
	case out != 0 && (out < time.Second || out > maxEjectFor):
		return fmt.Errorf("eject: for %s is outside 1s to %s; write for how long an upstream is out, such as 30s", out, maxEjectFor)
	case e.MaxPercent != nil && !(*e.MaxPercent >= 0 && *e.MaxPercent <= 100):
		return fmt.Errorf("eject: max %v is outside 0 to 100; write how much of a group may be out, as a percentage", *e.MaxPercent)
	}
	return nil
}

// ejector decides which upstreams of a group are out because they fail too often. Nil if eject is
// not configured.
type ejector struct {
	ratio   float64
	min     uint64
	window  time.Duration
	openFor time.Duration
	most    int // how many may be out at once
	group   *group
	route   *route

	judged atomic.Int64 // when an upstream was judged last, in Unix nanoseconds

	mu   sync.Mutex // held while one is judged
	past map[*target]ejection
}

// ejection is an upstream's latest one.
type ejection struct {
	times int // one after the other
	until time.Time
}

func newEjector(config *Eject, g *group, route *route) *ejector {
	if config == nil {
		return nil
	}
	e := &ejector{ratio: config.Ratio, min: defaultEjectMin, window: defaultEjectWindow, openFor: defaultEjectFor, group: g, route: route,
		past: make(map[*target]ejection)}
	most := float64(defaultEjectMax)
	if config.MinRequests != nil {
		e.min = uint64(*config.MinRequests)
	}
	if config.Window != 0 {
		e.window = time.Duration(config.Window)
	}
	if config.For != 0 {
		e.openFor = time.Duration(config.For)
	}
	if config.MaxPercent != nil {
		most = *config.MaxPercent
	}
	if e.most = int(most / 100 * float64(len(g.targets))); most > 0 {
		e.most = max(e.most, 1)
	}
	for _, t := range g.targets {
		t.results = newResults(e.window)
	}
	return e
}

// observe is told how an attempt at an upstream has ended.
func (e *ejector) observe(at *target, failed bool) {
	if e == nil || at.results == nil || at.late { // another request's address may be that of another server
		return
	}
	now := time.Now()
	at.results.count(now, failed)
	if failed {
		e.judge(at, now)
	}
}

// judge ejects an upstream that has failed if it fails too often.
func (e *ejector) judge(at *target, now time.Time) {
	dial := at.backend.dial
	c := e.group.breaker.of(dial)
	onTrial := c != nil && c.ejected && !now.Before(c.until)
	if !onTrial && (c != nil || !e.isDue(now) || !e.isWorse(at, now)) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !onTrial && (e.group.breaker.of(dial) != nil || !e.maySpare(at)) || onTrial && e.group.breaker.of(dial) != c {
		return
	}
	last := e.past[at]
	if now.Sub(last.until) > maxEjectDoubled {
		last.times = 0
	}
	last.times++
	openFor := e.openFor
	for range last.times - 1 {
		openFor = max(e.openFor, min(2*openFor, maxEjectDoubled))
	}
	last.until = now.Add(openFor)
	e.past[at] = last
	total, bad := at.results.sum(now)
	at.results.clear()
	e.group.breaker.eject(dial, openFor)
	e.route.logger.Warn("upstream ejected: it fails much more often than the others of its group",
		zap.String("route", e.route.title), zap.String("group", e.group.name), zap.String("upstream", at.backend.address.String()),
		zap.Uint64("failed", bad), zap.Uint64("of", total), zap.Duration("for", openFor))
}

// judgeInterval is how often upstreams of a group are judged at most: where many fail at once, it is
// the same question for each failure.
const judgeInterval = 10 * time.Millisecond

// isDue tells whether an upstream is to be judged again.
func (e *ejector) isDue(now time.Time) bool {
	last := e.judged.Load()
	return now.UnixNano()-last >= int64(judgeInterval) && e.judged.CompareAndSwap(last, now.UnixNano())
}

// isWorse tells whether an upstream fails often, and twice as often as the others.
func (e *ejector) isWorse(at *target, now time.Time) bool {
	total, bad := at.results.sum(now)
	if total < e.min || float64(bad) < e.ratio*float64(total) {
		return false
	}
	var othersTotal, othersBad uint64
	for _, t := range e.group.targets {
		if t != at {
			n, failed := t.results.sum(now)
			othersTotal, othersBad = othersTotal+n, othersBad+failed
		}
	}
	return float64(bad)*float64(othersTotal) >= 2*float64(othersBad)*float64(total)
}

// maySpare tells whether one more upstream may be out: not too many are, and somebody is left in
// each group that has it.
func (e *ejector) maySpare(at *target) bool {
	out := 0
	for _, t := range e.group.targets {
		if e.group.breaker.isEjected(t.backend.dial) {
			out++
		}
	}
	return out < e.most && !slices.ContainsFunc(e.route.groups, func(g *group) bool {
		return g.has(at.backend.dial) && !g.servesWithout(at.backend.dial)
	})
}

// results counts how attempts at an upstream have ended, in each of the last seconds.
type results struct{ seconds []resultSecond }

type resultSecond struct {
	number     atomic.Int64 // since the Unix epoch
	total, bad atomic.Uint64
}

func newResults(window time.Duration) *results {
	return &results{make([]resultSecond, window/time.Second)}
}

func (r *results) count(now time.Time, failed bool) {
	number := now.Unix()
	one := &r.seconds[number%int64(len(r.seconds))]
	if last := one.number.Load(); last != number && one.number.CompareAndSwap(last, number) {
		one.total.Store(0) // what is counted between the two may be lost
		one.bad.Store(0)
	}
	one.total.Add(1)
	if failed {
		one.bad.Add(1)
	}
}

// sum returns how many attempts there were in the window, and how many of them failed.
func (r *results) sum(now time.Time) (total, bad uint64) {
	for i := range r.seconds {
		one := &r.seconds[i]
		if age := now.Unix() - one.number.Load(); age >= 0 && age < int64(len(r.seconds)) {
			total += one.total.Load()
			bad += one.bad.Load()
		}
	}
	return total, bad
}

// clear forgets all.
func (r *results) clear() {
	for i := range r.seconds {
		r.seconds[i].total.Store(0)
		r.seconds[i].bad.Store(0)
	}
}

// errEjectTransport says why a route cannot eject.
var errEjectTransport = errors.New("eject: the route's transport is not http, so that nobody knows whose fault a failure is; remove eject, or the transport")
