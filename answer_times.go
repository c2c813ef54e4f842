package proxyos

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/latency"
)

// answerTimes is what the policy least_latency remembers of upstreams. Requests only read it,
// without a lock: it changes when an upstream is new.
type answerTimes struct {
	began time.Time
	group latency.Group
	known atomic.Pointer[timedServers] // replaced rather than changed
	mu    sync.Mutex                   // held to replace it
}

// timedServers are those that are remembered, by the dial addresses of the upstreams.
type timedServers map[string]*timedServer

type timedServer struct {
	latency.Server
	since latency.Moment // when it was first seen
}

// start begins to remember.
func (a *answerTimes) start(decay time.Duration) { a.began, a.group.Decay = time.Now(), decay }

func (a *answerTimes) now() latency.Moment { return a.group.At(time.Since(a.began)) }

// of returns what is remembered of two upstreams of a pool. other may be nil.
func (a *answerTimes) of(pool reverseproxy.UpstreamPool, one, other *reverseproxy.Upstream) (first, second *latency.Server) {
	known := a.known.Load()
	first, second = known.of(one), known.of(other)
	if first == nil || second == nil && other != nil {
		known = a.learn(pool)
		first, second = known.of(one), known.of(other)
	}
	return first, second
}

// of returns what is remembered of an upstream, or nil.
func (s *timedServers) of(upstream *reverseproxy.Upstream) *latency.Server {
	if s == nil || upstream == nil {
		return nil
	}
	if one := (*s)[upstream.Dial]; one != nil {
		return &one.Server
	}
	return nil
}

// learn adds the upstreams of a pool to those that are remembered, and takes out others of which
// nothing is left: upstreams of a dynamic source may never come up again.
func (a *answerTimes) learn(pool reverseproxy.UpstreamPool) *timedServers {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, last := a.now(), a.known.Load()
	next := make(timedServers, len(pool))
	if last != nil {
		for dial, one := range *last {
			if now-one.since < 1 || one.Value(now) > 0 {
				next[dial] = one
			}
		}
	}
	for _, upstream := range pool {
		if next[upstream.Dial] == nil {
			next[upstream.Dial] = &timedServer{since: now}
		}
	}
	a.known.Store(&next)
	return &next
}

// answered notes the status of an upstream's answer, and how long its header took.
func (a *answerTimes) answered(upstream *reverseproxy.Upstream, status int, took time.Duration) {
	if status >= http.StatusInternalServerError {
		a.failed(upstream, took)
	} else if one := a.known.Load().of(upstream); one != nil {
		a.group.Answered(one, took, a.now())
	}
}

// failed notes that an attempt has failed, by the fault of its upstream.
func (a *answerTimes) failed(upstream *reverseproxy.Upstream, took time.Duration) {
	if one := a.known.Load().of(upstream); one != nil {
		a.group.Failed(one, took, a.now())
	}
}

// givenUp notes that a client has not waited for an upstream's answer.
func (a *answerTimes) givenUp(upstream *reverseproxy.Upstream, took time.Duration) {
	if one := a.known.Load().of(upstream); one != nil {
		a.group.GivenUp(one, took, a.now())
	}
}

// untold notes that an attempt has ended in a way that tells nothing of its upstream.
func (a *answerTimes) untold(upstream *reverseproxy.Upstream) {
	if one := a.known.Load().of(upstream); one != nil {
		a.group.Untold(one)
	}
}
