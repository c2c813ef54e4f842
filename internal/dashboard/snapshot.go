// Package dashboard is the page that shows routes while they run, and steers them: its HTML, style and
// script, what is live on it, and what it remembers of the last minutes. It knows routes by what a Source
// tells, and nothing of Caddy.
package dashboard

import (
	"context"
	"time"
)

// Source is what a dashboard shows and steers.
type Source interface {
	// Snapshot tells how things are now.
	Snapshot(ctx context.Context) (*Snapshot, error)

	// Do does what the admin API does for a request below /proxyos/routes/, and returns its answer. The path
	// is escaped.
	Do(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error)
}

// Snapshot is how things are at one moment.
type Snapshot struct {
	Routes  []Route  `json:"routes"`            // in the order of the configuration
	Changes []Change `json:"changes,omitempty"` // the latest first
}

// Route is a route of the configuration.
type Route struct {
	Name       string    `json:"name"`                  // empty: it cannot be steered
	Label      string    `json:"label"`                 // the name, or what stands for it
	Site       string    `json:"site,omitempty"`        // where it is: hosts and path
	Split      *float64  `json:"split,omitempty"`       // the percentage for staging; nil if there is none
	Configured float64   `json:"configured"`            // the percentage in the configuration
	SetBy      string    `json:"set_by,omitempty"`      // who has set the one in force
	SetAt      time.Time `json:"set_at,omitzero"`       // zero if the configured one is in force
	Version    string    `json:"version"`               // of the share: another one after each change
	Fallbacks  uint64    `json:"fallbacks"`             // requests for staging that production took over
	OverBudget uint64    `json:"over_budget,omitempty"` // requests that were not sent again since the retry budget was used up
	Retries    uint64    `json:"retries"`               // attempts beyond the first, of all requests
	Release    *Release  `json:"release,omitempty"`
	Groups     []Group   `json:"groups"` // production, then staging if there is one
}

// Group is production or staging. What it counts only grows.
type Group struct {
	Name      string     `json:"name"`
	Dynamic   bool       `json:"dynamic,omitempty"` // it has upstreams that are not listed
	Requests  uint64     `json:"requests"`          // answered
	Errors    uint64     `json:"errors"`            // of them with a status of 500 or more
	InFlight  int64      `json:"in_flight"`         // now
	Durations []uint64   `json:"durations"`         // requests by how long they took: up to each of Bounds and above the one before; the last, longer
	Upstreams []Upstream `json:"upstreams"`
}

// Bounds are the upper bounds of the durations that are counted together.
var Bounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Upstream is an upstream of a group.
type Upstream struct {
	Address     string       `json:"address"` // as written
	Dial        string       `json:"dial"`    // names it when it is steered
	Speaks      string       `json:"speaks"`  // such as "HTTPS, certificate not checked"
	Certificate *Certificate `json:"certificate,omitempty"`
	Weight      int          `json:"weight"`             // in force
	Configured  int          `json:"configured"`         // in the configuration
	Weighable   bool         `json:"weighable"`          // a weight would have an effect
	Health      string       `json:"health"`             // up, down, on trial, full or ejected
	Since       time.Time    `json:"since,omitzero"`     // since when it is not up
	Problem     string       `json:"problem,omitempty"`  // the latest error while it is not up
	Hint        string       `json:"hint,omitempty"`     // what to do about it
	Fix         string       `json:"fix,omitempty"`      // the line to write
	Drained     bool         `json:"drained,omitempty"`  // it gets no new requests
	SetBy       string       `json:"set_by,omitempty"`   // who has drained or weighed it
	SetAt       time.Time    `json:"set_at,omitzero"`    // and when
	Backup      bool         `json:"backup,omitempty"`   // it gets requests only while no other is available
	WarmUp      float64      `json:"warm_up,omitempty"`  // which share of its turns it gets, while it warms up
	InFlight    int          `json:"in_flight"`          // now
	Requests    uint64       `json:"requests"`           // attempts
	Errors      uint64       `json:"errors"`             // of them failed
	Version     string       `json:"version"`            // of what is set for it
	Repeated    bool         `json:"repeated,omitempty"` // it is listed before, in this group
}

// Certificate is what is known of an upstream's certificate.
type Certificate struct {
	State    string    `json:"state"`             // checked, not checked, pinned or changed
	Subject  string    `json:"subject,omitempty"` // of the one it has shown, if that is known
	NotAfter time.Time `json:"not_after,omitzero"`
	Problem  string    `json:"problem,omitempty"` // why it would not pass the check
}

// Release is where the release of a route is.
type Release struct {
	Phase     string    `json:"phase"`   // running, paused, done, rolled_back or stopped; none before the first
	DryRun    bool      `json:"dry_run"` // it leaves the share as it is
	Steps     []float64 `json:"steps"`
	Step      int       `json:"step"` // which of them it is on, from 1
	Percent   float64   `json:"percent"`
	Reason    string    `json:"reason"` // of the latest change, or what it waits for
	StartedAt time.Time `json:"started_at,omitzero"`
	StepAt    time.Time `json:"step_at,omitzero"`
	Hold      string    `json:"hold,omitempty"`   // how long the step lasts at least
	Lasted    string    `json:"lasted,omitempty"` // how long it has lasted
	Requests  int64     `json:"requests"`         // answered on the step by staging
	Needed    int64     `json:"needed"`
	Evidence  []string  `json:"evidence,omitempty"` // what each test has found, in words
	Edited    string    `json:"edited,omitempty"`
	Approve   []float64 `json:"approve,omitempty"` // the steps that are yet to be approved
	Version   string    `json:"version"`           // of its state
}

// Change is something that was changed at run time.
type Change struct {
	At    time.Time `json:"at"`
	Route string    `json:"route"` // its label
	What  string    `json:"what"`  // such as "share", "release", or an upstream
	From  string    `json:"from"`
	To    string    `json:"to"`
	By    string    `json:"by"`              // a person or an address; empty if it is not known
	Cause string    `json:"cause,omitempty"` // in words, if it was not done by hand
}
