package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// kind is a kind of traffic.
type kind string

const (
	kindGet    kind = "GET"
	kindLarge  kind = "GET 100 KiB"
	kindPost   kind = "POST"
	kindEvents kind = "event stream"
	kindSocket kind = "WebSocket"
)

var kinds = []kind{kindGet, kindLarge, kindPost, kindEvents, kindSocket}

// exchange is one request and its outcome.
type exchange struct {
	kind           kind
	started, ended time.Time
	group          string    // that answered; empty if none did
	answered       bool      // any answer had begun
	begun          bool      // a good answer had begun
	wrong          bool      // the answer was complete, but not the right one
	fresh          bool      // its connection was opened for it, so no client repeats it by itself
	opened         time.Time // when its connection was; zero if it had none
	err            error
}

// disruption is a moment at which something was broken or changed on purpose.
type disruption struct {
	at   time.Time
	what string
	kill bool // of upstreams; otherwise a reload
}

// leeway is how long after a disruption its effects may still occur.
const leeway = 300 * time.Millisecond

func (d disruption) touches(e exchange) bool {
	return e.started.Before(d.at.Add(leeway)) && e.ended.After(d.at)
}

// ends tells whether a reload ends the connection of an exchange that may begin long after it: one that
// was opened before it is closed as soon as what it was then used for, such as an event stream, is over.
func (d disruption) ends(e exchange) bool {
	return !d.kill && !e.opened.IsZero() && e.opened.Before(d.at) && e.ended.After(d.at)
}

// verdict is the judgement on an exchange.
type verdict string

const (
	served verdict = "served"
	// no proxy can do better: the upstream died with a request that must not be repeated, or
	// in the middle of an answer
	cutByKill verdict = "cut by a kill"
	// a reload ends upgraded connections, and client connections that are idle or just being
	// opened, even if they are used at that moment: each config listens with a socket of its own,
	// and what waits at the old one is reset. It refuses none. A connection that is busy ends when its
	// answer has ended. Clients repeat a GET by themselves that was sent over a connection which had
	// served others
	cutByReload verdict = "cut by a reload"
	failed      verdict = "failed"
)

// judge tells whether an exchange that went wrong could have been served.
func judge(e exchange, disruptions []disruption) verdict {
	switch {
	case e.err == nil:
		return served
	case errors.Is(e.err, syscall.ECONNREFUSED), isTimeout(e.err): // nobody listened, or nobody answered
		return failed
	}
	for _, d := range disruptions {
		switch {
		case e.wrong:
		case d.ends(e) && e.kind == kindPost && !e.answered:
			return cutByReload
		case !d.touches(e):
		case d.kill && (e.begun || e.kind == kindPost):
			return cutByKill
		case !d.kill && e.kind == kindSocket && e.begun,
			!d.kill && (e.kind == kindSocket || e.kind == kindPost || e.fresh || isHalfOpen(e.err)) && !e.answered:
			return cutByReload
		}
	}
	return failed
}

func isTimeout(err error) bool {
	failure, ok := errors.AsType[net.Error](err)
	return ok && failure.Timeout()
}

// isHalfOpen tells whether a connection was reset while it was being opened, perhaps in the place of one
// that had served others and was closed at that moment.
func isHalfOpen(err error) bool {
	failure, ok := errors.AsType[*net.OpError](err)
	return ok && failure.Op == "dial" && errors.Is(failure, syscall.ECONNRESET)
}

// ledger keeps the outcomes of all exchanges. It is safe for concurrent use.
type ledger struct {
	mu          sync.Mutex
	disruptions []disruption
	troubled    []exchange // those that went wrong
	total       map[kind]int
	groups      map[string]int
}

func newLedger() *ledger {
	return &ledger{total: make(map[kind]int), groups: make(map[string]int)}
}

func (l *ledger) add(e exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total[e.kind]++
	l.groups[e.group]++
	if e.err != nil {
		l.troubled = append(l.troubled, e)
	}
}

func (l *ledger) disrupt(d disruption) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disruptions = append(l.disruptions, d)
}

// counts returns how many exchanges each group has had so far.
func (l *ledger) counts() (inProduction, inStaging, unknown int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.groups[production], l.groups[staging], l.groups[""]
}

// verdicts judges all exchanges. It describes those that failed, and one example of each way of
// being cut.
func (l *ledger) verdicts() (byKind map[kind]map[verdict]int, failures, examples []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	byKind = make(map[kind]map[verdict]int)
	for k, n := range l.total {
		byKind[k] = map[verdict]int{served: n}
	}
	for _, e := range l.troubled {
		v := judge(e, l.disruptions)
		byKind[e.kind][served]--
		byKind[e.kind][v]++
		description := fmt.Sprintf("%s, %s, %s, after %s (%s before it): %s", v,
			e.ended.Format("15:04:05.000"), e.kind, e.ended.Sub(e.started).Round(time.Millisecond), l.latest(e), strings.ReplaceAll(e.err.Error(), "\n", " "))
		switch {
		case v == failed:
			failures = append(failures, description)
		case byKind[e.kind][v] == 1:
			examples = append(examples, description)
		}
	}
	return byKind, failures, examples
}

// latest names the last disruption before the end of an exchange.
func (l *ledger) latest(e exchange) string {
	name := "nothing"
	for _, d := range l.disruptions {
		if d.at.Before(e.ended) {
			name = fmt.Sprintf("%s %s", d.what, e.ended.Sub(d.at).Round(time.Millisecond))
		}
	}
	return name
}
