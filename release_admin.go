package proxyos

import (
	"errors"
	"fmt"
	"net/http"
)

// The actions that a POST of a release takes.
const (
	actionStart   = "start"
	actionPause   = "pause"
	actionResume  = "resume"
	actionApprove = "approve"
	actionAbort   = "abort"
)

// releaseChange is the body of a POST of a release.
type releaseChange struct {
	Action  string   `json:"action"`
	Percent *float64 `json:"percent,omitempty"` // which step is approved
	By      string   `json:"by"`
	Seen    string   `json:"seen,omitempty"`  // the version that is changed; if it is another one by now, nothing is
	Force   bool     `json:"force,omitempty"` // start even if staging cannot serve, or has more than the first step
}

func parseReleaseChange(body []byte) (releaseChange, error) {
	const example = `{"action": "start"}, "pause", "resume", "abort", or {"action": "approve", "percent": 50}`
	var c releaseChange
	if err := decodeChange(body, &c, example); err != nil {
		return releaseChange{}, err
	}
	switch c.Action {
	case actionStart, actionPause, actionResume, actionAbort:
		if c.Percent != nil {
			return releaseChange{}, fmt.Errorf("percent: %v is only for the action %q; leave it out", *c.Percent, actionApprove)
		}
	case actionApprove:
		if c.Percent == nil {
			return releaseChange{}, errors.New("percent is missing; write {\"action\": \"approve\", \"percent\": 50}")
		}
	case "":
		return releaseChange{}, errors.New("action is missing; write " + example)
	default:
		return releaseChange{}, fmt.Errorf("action: %q is none; write %s", c.Action, example)
	}
	return c, checkBy(c.By)
}

// serveRelease watches and steers the release of a route.
func (*adminAPI) serveRelease(w http.ResponseWriter, r *http.Request, steering *steering, route *route) error {
	switch r.Method {
	case http.MethodGet:
		return nil
	case http.MethodPost:
	default:
		return methodNotAllowed(w, r, http.MethodGet, http.MethodPost)
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	change, err := parseReleaseChange(body)
	if err != nil {
		return badRequest(err)
	}
	if change.By == "" {
		change.By = caller(r)
	}
	switch change.Action {
	case actionStart:
		return steering.startRelease(r.Context(), route, change.By, change.Seen, change.Force)
	case actionPause:
		return steering.pauseRelease(r.Context(), route, change.By, change.Seen)
	case actionResume:
		return steering.resumeRelease(r.Context(), route, change.By, change.Seen)
	case actionApprove:
		return steering.approveRelease(r.Context(), route, *change.Percent, change.By, change.Seen)
	}
	return steering.abortRelease(r.Context(), route, change.By, change.Seen)
}

// toldRelease is releaseStatus, for a route without a release, too.
func (r *route) toldRelease() releaseStatus {
	if s := r.releaseStatus(); s != nil {
		return *s
	}
	return releaseStatus{Phase: noRelease, Reason: "the route has no `release` in its config"}
}
