package proxyos

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// Who changes something may say which version of it they have seen. If it is another one by then, since
// somebody else was faster, nothing is changed. Versions are compared where the document is locked, and mean
// nothing but that they are the same or not.

// shareVersion returns the version of a route's share, of which the override is stored; nil if none is.
func (r *route) shareVersion(o *override) string {
	configured := strconv.FormatFloat(r.split.configured.percent, 'g', -1, 64)
	if o == nil {
		return configured
	}
	return fmt.Sprintf("%s %d", configured, o.SetAt.UnixNano())
}

// version returns the version of what is stored for an upstream; nil if nothing is.
func (o *upstreamOverride) version() string {
	if o == nil {
		return "0"
	}
	return strconv.FormatInt(o.SetAt.UnixNano(), 10)
}

// releaseVersion returns the version of a release; nil if there never was one. How it counts, and what it waits for,
// is no part of it. It begins with which release it is.
func releaseVersion(s *release.State) string {
	if s == nil {
		return "0"
	}
	return fmt.Sprintf("%d %s %d %v", s.StartedAt.UnixNano(), s.Phase, s.Step, s.Approved)
}

// whichRelease returns the part of a release's version that stays while it goes on.
func whichRelease(version string) string {
	which, _, _ := strings.Cut(version, " ")
	return which
}

// outdatedError says that somebody has seen another version of what they want to change.
type outdatedError struct{ now string } // how it is now

func (*outdatedError) isConflict() {}

func (e *outdatedError) Error() string {
	return "it has changed since you looked: " + e.now + "; look again, and do it again if you still want to"
}

// checkSeen returns an error if somebody has seen another version than the present one. An empty one is not
// compared.
func checkSeen(seen, version, now string) error {
	if seen == "" || seen == version {
		return nil
	}
	return &outdatedError{now}
}
