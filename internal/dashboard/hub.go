package dashboard

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	interval        = time.Second     // between snapshots
	snapshotTimeout = 3 * time.Second // less than a page waits before it takes the events to have ended
	mostViewers     = 1000
)

// Hub takes a snapshot of its source each second, and tells all who look at a page what has changed.
// What a page shows is worked out and encoded once, for all who look at it.
type Hub struct {
	source  Source
	history *History
	taking  sync.Mutex // held while a snapshot is taken, so that they stay in order

	mu        sync.Mutex
	state     state
	audiences map[topic]*audience
	whole     map[topic][]byte // events of all cells, of pages that were asked for since the latest snapshot
	viewers   list.List        // of all audiences, the oldest first
	ended     bool
}

// audience is who looks at one page.
type audience struct {
	cache   pageCache
	told    told
	viewers map[*viewer]struct{}
}

var errEnded = errors.New("this dashboard has ended; a reload of the config may have replaced it")

// NewHub returns a hub of a source. The history may be one that another hub has filled; nil: a new one.
func NewHub(source Source, history *History) *Hub {
	if history == nil {
		history = NewHistory()
	}
	return &Hub{source: source, history: history, audiences: make(map[topic]*audience), whole: make(map[topic][]byte)}
}

// Run keeps the hub going until the context ends. All streams of events end with it. A hub runs once.
func (h *Hub) Run(ctx context.Context) {
	defer h.history.leave(h)
	defer h.End()
	defer context.AfterFunc(ctx, h.End)() // even while a snapshot takes its time
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		h.take(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// take takes a snapshot and tells everybody. If that fails, they are told so.
func (h *Hub) take(ctx context.Context) {
	h.taking.Lock()
	defer h.taking.Unlock()
	limited, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	snapshot, err := h.source.Snapshot(limited)
	now := time.Now()
	if ctx.Err() != nil { // nobody waits for it any more
		return
	}
	switch {
	case err != nil && limited.Err() != nil:
		err = fmt.Errorf("there was no answer within %v", snapshotTimeout)
	case err == nil && snapshot == nil:
		err = errors.New("nothing is known of any route")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.err, h.state.now = err, now; err == nil {
		h.state.snapshot, h.state.refs, h.state.at = snapshot, refs(snapshot.Routes), now
		h.history.addFrom(h, snapshot, now)
	}
	h.tell()
}

// tell sends each audience what has changed for it. The lock must be held.
func (h *Hub) tell() {
	clear(h.whole)
	for topic, a := range h.audiences {
		before := a.told
		a.told = newView(topic, &h.state, h.history, &a.cache).told
		event := changedEvent(before, a.told)
		for v := range a.viewers {
			if !v.offer(event) {
				h.drop(v)
			}
		}
	}
}

// look returns the view of a page as it is now.
func (h *Hub) look(ctx context.Context, t topic) *view {
	h.begin(ctx)
	h.mu.Lock()
	known := h.state
	h.mu.Unlock()
	return newView(t, &known, h.history, new(pageCache))
}

// data returns all cells of a page, in JSON.
func (h *Hub) data(ctx context.Context, t topic) []byte {
	h.begin(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	return dataOfEvent(h.wholeEvent(t))
}

// begin takes the first snapshot, if there was none.
func (h *Hub) begin(ctx context.Context) {
	h.mu.Lock()
	isKnown := h.state.snapshot != nil || h.state.err != nil
	h.mu.Unlock()
	if !isKnown {
		h.take(ctx)
	}
}

// wholeEvent returns the event of all cells of a page. Those who ask for it within a second get the
// same. The lock must be held.
func (h *Hub) wholeEvent(t topic) []byte {
	whole := h.whole[t]
	if whole == nil {
		v := newView(t, &h.state, h.history, new(pageCache))
		whole = event(v.Structure, v.Cells)
		if len(h.whole) < mostViewers {
			h.whole[t] = whole
		}
	}
	return whole
}

// join has a viewer told of a page from now on, beginning with all of it. It must leave. If there are
// too many, the one who has looked for longest is let go.
func (h *Hub) join(t topic, cancel context.CancelFunc) (*viewer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, errEnded
	}
	if h.viewers.Len() >= mostViewers {
		h.drop(h.viewers.Front().Value.(*viewer))
	}
	a := h.audiences[t]
	if a == nil {
		a = &audience{viewers: make(map[*viewer]struct{})}
		a.told = newView(t, &h.state, h.history, &a.cache).told
		h.audiences[t] = a
	}
	v := newViewer(t, cancel)
	v.place = h.viewers.PushBack(v)
	a.viewers[v] = struct{}{}
	v.offer(h.wholeEvent(t))
	return v, nil
}

// leave lets a viewer go.
func (h *Hub) leave(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(v)
}

// drop lets a viewer go, which may have gone before. The lock must be held.
func (h *Hub) drop(v *viewer) {
	v.cancel()
	if v.place == nil {
		return
	}
	h.viewers.Remove(v.place)
	v.place = nil
	a := h.audiences[v.topic]
	if delete(a.viewers, v); len(a.viewers) == 0 {
		delete(h.audiences, v.topic)
	}
}

// End lets everybody go who looks, and nobody look any more. Run goes on until its context ends.
func (h *Hub) End() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for h.viewers.Len() > 0 {
		h.drop(h.viewers.Front().Value.(*viewer))
	}
}
