package h1

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pool keeps the connections that are idle, and counts all.
type pool struct {
	dial           dialConn
	detach         func(context.Context) context.Context // from a request, for its dial
	keepsNone      bool
	maxIdle        int // 0: no limit
	maxIdlePerHost int
	maxPerHost     int           // idle or not; 0: no limit
	idleLimit      time.Duration // how long a connection may be idle; 0: no limit

	mu             sync.Mutex
	hosts          map[key]*host
	dials          map[*waiter]struct{} // for whom a dial is under way
	oldest, latest *conn                // the idle ones, in the order in which they became so
	idle           int
	sweeper        *time.Timer // closes those that have been idle for too long
	sweeping       bool        // it is set
	closing        bool        // nothing is kept, until the next request
}

// host are the connections that may serve the same requests.
type host struct {
	idle    []*conn   // the one that was used last is the last
	waiting []*waiter // in the order of their coming
	open    int       // connections, and dials under way
}

// put keeps a connection that has become idle, or hands it to whoever waits for one. It tells
// whether it did: otherwise the caller closes it.
func (p *pool) put(c *conn) bool {
	if p.keepsNone {
		return false
	}
	p.mu.Lock()
	c.reused = true
	h := p.host(c.where)
	if len(h.waiting) > 0 {
		p.deliver(h, h.waiting[0], got{conn: c})
		p.mu.Unlock()
		return true
	}
	if p.closing || len(h.idle) >= p.maxIdlePerHost {
		p.mu.Unlock()
		return false
	}
	h.idle = append(h.idle, c)
	c.idleAt = time.Now()
	p.link(c)
	var excess *conn
	if p.maxIdle != 0 && p.idle > p.maxIdle {
		excess = p.oldest
		p.remove(excess)
	}
	p.sweepLater()
	p.mu.Unlock()
	if excess != nil {
		excess.close()
	}
	return true
}

// take returns the connection to a host that was used last, or nil. What it finds too old is
// returned, too, to be closed. The lock is held.
func (p *pool) take(where key) (c *conn, old []*conn) {
	h := p.hosts[where]
	for h != nil && len(h.idle) > 0 {
		c = h.idle[len(h.idle)-1]
		p.remove(c)
		// by the wall clock, since a computer that sleeps stops the other one
		if p.idleLimit <= 0 || !c.idleAt.Round(0).Before(time.Now().Add(-p.idleLimit).Round(0)) {
			return c, old
		}
		old = append(old, c)
	}
	return nil, old
}

// release gives up the place of a connection, once. Somebody who waits for one may dial then.
func (p *pool) release(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.counted {
		return
	}
	c.counted = false
	p.vacate(c.where)
}

// vacate counts one connection or dial less. The lock is held.
func (p *pool) vacate(where key) {
	h := p.host(where)
	h.open--
	if i := slices.IndexFunc(h.waiting, func(w *waiter) bool { return !w.dialing }); i >= 0 && p.hasRoom(h) {
		p.startDial(h, h.waiting[i])
	}
	p.forget(where, h)
}

// closeIdle closes what is idle, and what becomes so until the next request.
func (p *pool) closeIdle() {
	p.mu.Lock()
	p.closing = true
	var all []*conn
	for p.oldest != nil {
		all = append(all, p.oldest)
		p.remove(p.oldest)
	}
	if p.sweeping && p.sweeper.Stop() {
		p.sweeping = false
	}
	for w := range p.dials {
		if w.done {
			w.cancel()
		}
	}
	p.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}

// sweepLater sets the sweeper, if it is not. The lock is held.
func (p *pool) sweepLater() {
	if p.idleLimit <= 0 || p.sweeping || p.oldest == nil {
		return
	}
	p.sweeping = true
	wait := time.Until(p.oldest.idleAt.Add(p.idleLimit))
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(wait, p.sweep)
		return
	}
	p.sweeper.Reset(wait)
}

// sweep closes what has been idle for too long.
func (p *pool) sweep() {
	p.mu.Lock()
	p.sweeping = false
	var old []*conn
	for p.oldest != nil && time.Since(p.oldest.idleAt) >= p.idleLimit {
		old = append(old, p.oldest)
		p.remove(p.oldest)
	}
	p.sweepLater()
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// host returns what is known of a host. The lock is held.
func (p *pool) host(where key) *host {
	h := p.hosts[where]
	if h == nil {
		h = new(host)
		p.hosts[where] = h
	}
	return h
}

// forget forgets a host to which there is no connection. The lock is held.
func (p *pool) forget(where key, h *host) {
	if h.open == 0 && len(h.idle) == 0 && len(h.waiting) == 0 {
		delete(p.hosts, where)
	}
}

// link notes that a connection is the latest to become idle. The lock is held.
func (p *pool) link(c *conn) {
	c.older, c.newer = p.latest, nil
	if p.latest != nil {
		p.latest.newer = c
	} else {
		p.oldest = c
	}
	p.latest = c
	p.idle++
}

// remove takes a connection from those that are idle. The lock is held.
func (p *pool) remove(c *conn) {
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.latest = c.older
	}
	c.older, c.newer = nil, nil
	p.idle--

	h := p.hosts[c.where]
	if last := len(h.idle) - 1; h.idle[last] == c {
		h.idle[last] = nil
		h.idle = h.idle[:last]
	} else {
		i := slices.Index(h.idle, c)
		h.idle = slices.Delete(h.idle, i, i+1)
	}
}
