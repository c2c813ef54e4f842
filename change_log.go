package proxyos

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/dashboard"
	"github.com/proxyos/caddy-proxyos/internal/release"
)

// maxChanges is how many changes are remembered.
const maxChanges = 50

// changeLog remembers the latest changes that were made at run time, here or by another instance, while this
// process runs. The zero value is empty.
type changeLog struct {
	mu     sync.Mutex
	latest []dashboard.Change // the oldest first
}

func (l *changeLog) add(c dashboard.Change) {
	if c.At.IsZero() {
		c.At = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.latest) == maxChanges {
		l.latest = slices.Delete(l.latest, 0, 1)
	}
	l.latest = append(l.latest, c)
}

// all returns the changes, the latest first.
func (l *changeLog) all() []dashboard.Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.latest)
	slices.Reverse(all)
	return all
}

// splitChanged remembers a change of a route's share.
func (l *changeLog) splitChanged(r *route, was float64, resetBy string) {
	c := dashboard.Change{Route: r.title, What: "share", From: percentText(was), To: percentText(r.split.current().percent), By: resetBy}
	switch o := r.split.override.Load(); {
	case o == nil && resetBy == "":
		c.Cause = "the configuration was edited"
	case o == nil:
		c.To += ", as configured"
	case o.SetBy == bySelf:
		c.At, c.Cause = o.SetAt, "by a release"
	default:
		c.At, c.By = o.SetAt, o.SetBy
	}
	l.add(c)
}

// upstreamsChanged remembers changes of what is set for a route's upstreams.
func (l *changeLog) upstreamsChanged(r *route, changed []upstreamNews, resetBy map[string]string) {
	for _, news := range changed {
		c := dashboard.Change{Route: r.title, What: news.dial, From: news.was.text(), To: news.now.text(), By: resetBy[resetKey(r.name, news.dial)]}
		if news.now != nil {
			c.At, c.By = news.now.SetAt, news.now.SetBy
		}
		l.add(c)
	}
}

// releaseChanged remembers a change of a route's release.
func (l *changeLog) releaseChanged(r *route, news releaseNews) {
	if was, now := news.was, news.now; was != nil && was.StartedAt.Equal(now.StartedAt) && was.Phase == now.Phase && was.Step == now.Step && slices.Equal(was.Approved, now.Approved) {
		return // it only waits for somebody
	}
	text := func(s *release.State) string {
		if s == nil {
			return "none"
		}
		return phaseText(s.Phase) + " at " + percentText(s.Percent())
	}
	l.add(dashboard.Change{At: news.now.ChangedAt, Route: r.title, What: "release", From: text(news.was), To: text(news.now),
		Cause: cmp.Or(news.now.Reason, "by a release")})
}
