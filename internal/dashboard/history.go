package dashboard

import (
	"sync"
	"time"
)

// History remembers 15 minutes of each group, in samples of one second. It is bounded by the
// configuration: it forgets what a snapshot no longer has, and a group takes no more than 25 KB,
// which it gets with its first request. It has no clock of its own, and may outlive the hub that
// fills it. Several goroutines may use it at once.
type History struct {
	mu      sync.Mutex
	started time.Time // of the second 0; monotonic, so it goes on while the clock is set
	second  int64     // of the latest snapshot
	groups  map[historyKey]*track
	routes  map[string]*extras
	owner   *Hub // whose snapshots are taken in; nil: those of whoever comes
}

// historyKey names a group. A route is named by its ref.
type historyKey struct{ route, group string }

// NewHistory returns a history without samples.
func NewHistory() *History {
	return &History{groups: make(map[historyKey]*track), routes: make(map[string]*extras)}
}

// addFrom is Add for one of two hubs that run beside each other while a config is replaced: only the first is
// listened to until it leaves, since what they know differs.
func (h *History) addFrom(hub *Hub, s *Snapshot, at time.Time) {
	h.mu.Lock()
	isHeard := h.owner == nil || h.owner == hub
	if isHeard {
		h.owner = hub
	}
	h.mu.Unlock()
	if isHeard {
		h.Add(s, at)
	}
}

// leave has another hub be listened to.
func (h *History) leave(hub *Hub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owner == hub {
		h.owner = nil
	}
}

// Add takes in a snapshot.
func (h *History) Add(s *Snapshot, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started.IsZero() {
		h.started = at
	}
	// rounded, since a tick is seldom exactly a second after the one before
	h.second = max(h.second, int64(at.Sub(h.started).Round(time.Second)/time.Second))
	groups, routes := make(map[historyKey]*track, len(h.groups)), make(map[string]*extras, len(h.routes))
	for i, ref := range refs(s.Routes) {
		r := &s.Routes[i]
		if known := h.routes[ref]; known != nil {
			known.add(r, h.second)
			routes[ref] = known
		} else {
			routes[ref] = newExtras(r, h.second)
		}
		for k := range r.Groups {
			g := &r.Groups[k]
			key := historyKey{ref, g.Name}
			if known := h.groups[key]; known != nil {
				known.add(g, h.second)
				groups[key] = known
			} else {
				groups[key] = newTrack(g, h.second)
			}
		}
	}
	h.groups, h.routes = groups, routes
}

// now returns the numbers of a group in the last seconds.
func (h *History) now(route, group string) (n numbers) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.groups[historyKey{route, group}]; t != nil {
		n = t.now()
	}
	return n
}

// lines are the last 15 minutes of a group.
type lines struct {
	requests, errors, inFlight []float64
	quantiles                  [len(quantilesShown)][]float64 // microseconds
}

func (h *History) lines(route, group string) (l lines) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.groups[historyKey{route, group}]
	if t == nil {
		return l
	}
	l.requests = perSecond(t.line(func(s *sample) uint32 { return s.requests }, sum))
	l.errors = perSecond(t.line(func(s *sample) uint32 { return s.errors }, sum))
	l.inFlight = t.line(func(s *sample) uint32 { return s.inFlight }, larger)
	for i := range l.quantiles {
		l.quantiles[i] = t.line(func(s *sample) uint32 { return s.quantiles[i] }, larger)
	}
	return l
}

// extraRate returns how often something was counted for a route, per second, in the last seconds.
func (h *History) extraRate(route string, kind extraKind) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.routes[route]; e != nil {
		return e.rate(kind)
	}
	return 0
}

// extraLine returns the last 15 minutes of that.
func (h *History) extraLine(route string, kind extraKind) []float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.routes[route]; e != nil {
		return e.line(kind)
	}
	return nil
}

// pointsAge changes when lines do.
func (h *History) pointsAge() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return (h.second + 1) / foldSeconds
}

func sum(a, b float64) float64    { return a + b }
func larger(a, b float64) float64 { return max(a, b) }

func perSecond(line []float64) []float64 {
	for i := range line {
		line[i] /= foldSeconds
	}
	return line
}
