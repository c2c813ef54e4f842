package proxyos

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// breaker remembers the upstreams of a route that have failed and not answered since, by
// dial address. The circuit of an upstream is closed while nothing is known against it,
// open while it gets no request, and half-open after that: on trial, it gets one request at
// a time, and one a second at least, until it has answered. So a dead upstream costs one
// request its first attempt each time, not all that are under way.
//
// A failure opens a circuit for 10 seconds, unless the operator has written passive health
// checks: then they count failures, and the circuit is half-open when they have forgotten
// them. What a config knows by its health checks, the next one does not know at first: there
// a circuit is open for as long as that one's checks need to find out.
//
// Requests only read it, without a lock: it changes when an upstream fails or returns.
type breaker struct {
	known atomic.Pointer[circuits] // replaced rather than changed; nil while all are closed
	mu    sync.Mutex               // held to replace it
}

// defaultOpenFor is how long a failure opens a circuit, with two or more upstreams, and how
// long passive health checks remember one for which no fail_duration is written.
const defaultOpenFor = 10 * time.Second

// circuits are those that are not closed.
type circuits map[string]*circuit

type circuit struct {
	since   time.Time    // it is not closed
	until   time.Time    // open until then, half-open from then on
	trial   atomic.Int64 // until when a request is on trial, in Unix nanoseconds; 0 if none is
	ejected bool         // because the upstream fails too often: one answer in between says nothing
}

// trialTime is how long a request is on trial at most. One that takes longer, such as a long
// poll or a slow upload, must not keep all others away.
const trialTime = time.Second

// isClosed tells whether all circuits are.
func (b *breaker) isClosed() bool { return b.known.Load() == nil }

// isOpen tells whether an upstream is to get no request yet.
func (b *breaker) isOpen(dial string) bool {
	c := b.of(dial)
	return c != nil && time.Now().Before(c.until)
}

// openFor returns how long an upstream is still to get no request; 0 if its circuit is not open.
func (b *breaker) openFor(dial string) time.Duration {
	if c := b.of(dial); c != nil {
		return max(time.Until(c.until), 0)
	}
	return 0
}

// isHalfOpen tells whether an upstream is on trial.
func (b *breaker) isHalfOpen(dial string) bool {
	c := b.of(dial)
	return c != nil && !time.Now().Before(c.until)
}

// rejects tells whether an upstream is to get no request now: its circuit is open, or it is
// on trial with another one.
func (b *breaker) rejects(dial string) bool {
	c := b.of(dial)
	return c != nil && (c.isTried(time.Now()) || time.Now().Before(c.until))
}

// admit lets a request go to an upstream, unless that is on trial with another one.
func (b *breaker) admit(dial string) bool {
	c := b.of(dial)
	if c == nil {
		return true
	}
	now, last := time.Now(), c.trial.Load()
	return last <= now.UnixNano() && c.trial.CompareAndSwap(last, now.Add(trialTime).UnixNano())
}

// failed opens the circuit of an upstream for a time; 0 puts it on trial at once. It never
// shortens the time that is left.
func (b *breaker) failed(dial string, openFor time.Duration) {
	now := time.Now()
	next := &circuit{since: now, until: now.Add(openFor)}
	b.change(func(known circuits) {
		if last := known[dial]; last != nil {
			next.since, next.ejected = last.since, last.ejected
			if last.until.After(next.until) {
				next.until = last.until
			}
		}
		known[dial] = next
		// dynamic upstreams may never come up again
		maps.DeleteFunc(known, func(_ string, c *circuit) bool { return now.Sub(c.until) > time.Hour })
	})
}

// eject opens the circuit of an upstream that fails too often. Only an answer to a request on
// trial closes it, if it is no error of the server.
func (b *breaker) eject(dial string, openFor time.Duration) {
	now := time.Now()
	next := &circuit{since: now, until: now.Add(openFor), ejected: true}
	b.change(func(known circuits) {
		if last := known[dial]; last != nil {
			next.since = last.since
		}
		known[dial] = next
	})
}

// isEjected tells whether the circuit of an upstream is open, or half-open, since it was ejected.
func (b *breaker) isEjected(dial string) bool {
	c := b.of(dial)
	return c != nil && c.ejected
}

// succeeded is called when an upstream has answered. That closes its circuit; while it is
// open the upstream has to do well for that. ejects tells whether the config ejects upstreams: one
// that the config before has ejected is treated like all others if it does not.
func (b *breaker) succeeded(dial string, status int, ejects bool) {
	if c := b.of(dial); ejects && c != nil && c.ejected && (status >= 500 || time.Now().Before(c.until)) {
		return
	}
	if status < 400 || !b.isOpen(dial) {
		b.forget(dial)
	}
}

// abandoned ends a trial that has shown nothing.
func (b *breaker) abandoned(dial string) {
	if c := b.of(dial); c != nil {
		c.trial.Store(0)
	}
}

// forget closes the circuit of an upstream.
func (b *breaker) forget(dial string) {
	if b.of(dial) != nil {
		b.change(func(known circuits) { delete(known, dial) })
	}
}

// takenOver is a circuit that a new config has opened for what the one before knew.
type takenOver struct{ circuit, before *circuit }

// takeOver opens the circuit of an upstream for a new config, which may not come to run.
func (b *breaker) takeOver(dial string, openFor time.Duration) takenOver {
	now := time.Now()
	t := takenOver{circuit: &circuit{since: now, until: now.Add(openFor)}}
	b.change(func(known circuits) {
		if t.before = known[dial]; t.before != nil {
			t.circuit.since = t.before.since
		}
		known[dial] = t.circuit
	})
	return t
}

// giveBack undoes takeOver, unless something else has happened meanwhile.
func (b *breaker) giveBack(dial string, t takenOver) {
	if t.circuit == nil || b.of(dial) != t.circuit {
		return
	}
	b.change(func(known circuits) {
		switch {
		case known[dial] != t.circuit:
		case t.before == nil:
			delete(known, dial)
		default:
			known[dial] = t.before
		}
	})
}

// of returns the circuit of an upstream; nil if it is closed.
func (b *breaker) of(dial string) *circuit { return b.known.Load().of(dial) }

// of returns the circuit of an upstream; nil if it is closed.
func (known *circuits) of(dial string) *circuit {
	if known != nil {
		return (*known)[dial]
	}
	return nil
}

// isTried tells whether a request is on trial.
func (c *circuit) isTried(now time.Time) bool { return now.UnixNano() < c.trial.Load() }

// change replaces what is known by what f makes of a copy.
func (b *breaker) change(f func(circuits)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := make(circuits)
	if last := b.known.Load(); last != nil {
		maps.Copy(known, *last)
	}
	f(known)
	if len(known) == 0 {
		b.known.Store(nil)
		return
	}
	b.known.Store(&known)
}

// timeToKnow returns how long a config needs to find out which upstreams are down.
func timeToKnow(checks *reverseproxy.HealthChecks) time.Duration {
	var needed time.Duration
	if checks == nil {
		return 0
	}
	if passive := checks.Passive; passive != nil {
		needed = time.Duration(passive.FailDuration)
	}
	if active := checks.Active; active != nil && active.IsEnabled() {
		timeout := time.Duration(active.Timeout)
		if timeout == 0 {
			timeout = 5 * time.Second // as Caddy has it
		}
		needed = max(needed, time.Duration(active.Fails-1)*time.Duration(active.Interval)+timeout+time.Second)
	}
	return needed
}
