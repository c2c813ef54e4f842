package h1

import (
	"context"
	"slices"
	"time"
)

// waiter is a request that waits for a connection: for the one that is dialled for it, or for one
// that becomes idle before.
type waiter struct {
	where key
	ctx   context.Context // for the dial: it outlives the request, since others can use the connection
	ready chan got        // gets one value, unless the request gives up

	cancel  context.CancelFunc // ends the dial
	dialing bool               // these are the pool's, too
	done    bool
}

// got is what a waiter waits for.
type got struct {
	conn *conn
	err  error
}

// dialConn opens a connection.
type dialConn func(ctx context.Context, where key) (*conn, error)

// get returns a connection: an idle one, and since when it has been so, or another.
func (p *pool) get(ctx context.Context, where key) (c *conn, idleAt time.Time, err error) {
	p.mu.Lock()
	p.closing = false
	c, old := p.take(where)
	if c != nil {
		p.mu.Unlock()
		closeAll(old)
		return c, c.idleAt, nil
	}
	w := &waiter{where: where, ready: make(chan got, 1)}
	w.ctx, w.cancel = context.WithCancel(p.detach(ctx))
	h := p.host(where)
	h.waiting = append(h.waiting, w)
	if p.hasRoom(h) {
		p.startDial(h, w)
	}
	p.mu.Unlock()
	closeAll(old)

	select {
	case g := <-w.ready:
		if g.err != nil && ctx.Err() != nil {
			return nil, idleAt, context.Cause(ctx) // which may be the reason
		}
		return g.conn, idleAt, g.err
	case <-ctx.Done():
		p.leave(w)
		return nil, idleAt, context.Cause(ctx)
	}
}

// leave ends the waiting. What has been delivered meanwhile is for others.
func (p *pool) leave(w *waiter) {
	p.mu.Lock()
	if !w.done {
		p.deliver(p.host(w.where), w, got{err: context.Canceled})
		p.forget(w.where, p.host(w.where))
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	if g := <-w.ready; g.conn != nil && !p.put(g.conn) {
		g.conn.close()
	}
}

// hasRoom tells whether there may be another connection to a host. The lock is held.
func (p *pool) hasRoom(h *host) bool { return p.maxPerHost <= 0 || h.open < p.maxPerHost }

// startDial has a connection opened for a waiter. The lock is held.
func (p *pool) startDial(h *host, w *waiter) {
	h.open++
	w.dialing = true
	p.dials[w] = struct{}{}
	go p.finishDial(w)
}

// finishDial opens a connection for a waiter, or for others if it got another one before.
func (p *pool) finishDial(w *waiter) {
	c, err := p.dial(w.ctx, w.where)
	w.cancel()
	p.mu.Lock()
	delete(p.dials, w)
	switch {
	case !w.done:
		p.deliver(p.host(w.where), w, got{c, err})
	case err == nil:
		p.mu.Unlock()
		if !p.put(c) {
			c.close()
		}
		return
	}
	if err != nil {
		p.vacate(w.where)
	}
	p.mu.Unlock()
}

// deliver ends the waiting of a waiter. The lock is held.
func (p *pool) deliver(h *host, w *waiter, g got) {
	w.done = true
	w.ready <- g
	i := slices.Index(h.waiting, w)
	h.waiting = slices.Delete(h.waiting, i, i+1)
	if !w.dialing {
		w.cancel() // nothing is dialled for it
	}
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}
