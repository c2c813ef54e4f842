package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// Release has a route raise staging's share step by step once somebody starts the release, by what it
// sees of staging's answers, and take the share back where staging fails. Needs a Name and a staging
// group. Until it is started, and after it was stopped by hand, it changes nothing. No placeholders.
type Release struct {
	// The percentages of requests that staging gets, one after the other. Each must be above the one
	// before; from above 0 to 100, decimals allowed. Default: 1, 5, 25, 50, 100.
	Steps []float64 `json:"steps,omitempty"`

	// How long each step lasts at least; 0, or from 1ms. All steps together must be shorter than the
	// deadline. Time in which the release is paused does not count. Default: 10m.
	Hold *caddy.Duration `json:"hold,omitempty"`

	// How many requests staging must have answered on a step before the next one, from 1. Too little
	// traffic is waiting, never a failure. Default: 300.
	MinRequests *int `json:"min_requests,omitempty"`

	// How many times as often as production staging may fail, from 1 to 100. The release fails once
	// it is sure that staging fails more often than that. 0 switches the test off. Default: 1.5.
	Errors *float64 `json:"errors,omitempty"`

	// How many times as often as production staging may be slow, from 1 to 100: slower than 95 % of
	// production's answers of late. The release fails once it is sure that staging is slow more often
	// than that. 0 switches the test off. Default: 1.5.
	Slower *float64 `json:"slower,omitempty"`

	// Which percentage of its requests staging may fail, from above 0 to below 100. The release fails
	// once it is sure that staging fails more than that, while production does not. No step is left
	// before staging has shown that it fails less. 0 switches the test off. Default: 5.
	MaxErrors *float64 `json:"max_errors,omitempty"`

	// How sure each of these three tests must be, over the whole release, as a percentage from 50 to
	// 99.999. Default: 99.
	Confidence *float64 `json:"confidence,omitempty"`

	// Steps that only begin when somebody has approved them, as percentages: any of Steps but the
	// first. Default: none.
	Approve []float64 `json:"approve,omitempty"`

	// How long the whole release may take. It fails when that is over, also if it only waits for
	// requests or for an approval. Time in which it is paused does not count. Default: 24h.
	Deadline *caddy.Duration `json:"deadline,omitempty"`

	// What becomes of a release that fails: "rollback" takes all requests from staging; "pause" leaves
	// staging its share until somebody decides. Default: rollback.
	OnFail string `json:"on_fail,omitempty"`

	// A URL that gets a POST with a small JSON whenever the release starts, goes on, waits for nothing but
	// an approval, is paused, resumed or approved, fails or ends. Begins with http:// or https://.
	// Default: none.
	Notify string `json:"notify,omitempty"`

	// Whether to decide and tell, and leave the share as it is. Default: false.
	DryRun bool `json:"dry_run,omitempty"`
}

// The limits of a release that are not those of its plan, or are written in other units there.
const (
	minReleaseConfidence = 50
	maxReleaseConfidence = 99.999
	minReleaseHold       = time.Millisecond // a number without a unit is in nanoseconds
)

// UnmarshalJSON decodes a release, and says in which field a mistake is.
func (r *Release) UnmarshalJSON(data []byte) error {
	fields, err := decodeObject(data)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	type plain Release // without this method
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field := fieldNamed(name, releaseFields)
		if field == "" {
			return errUnknownReleaseField(name)
		}
		err := json.Unmarshal(encode(object{field: fields[name]}), (*plain)(r))
		switch {
		case err != nil && (field == "hold" || field == "deadline"):
			return fmt.Errorf(`release: %s: %s is not a duration; write one such as "10m"`, field, fields[name])
		case err != nil:
			return fmt.Errorf("release: %w", plainly(field, err))
		}
	}
	return nil
}

func errUnknownReleaseField(name string) error {
	if near := nearest(name, releaseFields); near != "" {
		return fmt.Errorf("release: unknown field %q; did you mean %s?", name, near)
	}
	return fmt.Errorf("release: unknown field %q; it takes %s", name, strings.Join(releaseFields, ", "))
}

var releaseFields = jsonFields(reflect.TypeFor[Release]())

// plan returns how the release goes on, with the defaults for what is not written.
func (r *Release) plan() release.Plan {
	p := release.DefaultPlan()
	if r.Steps != nil {
		p.Steps = slices.Clone(r.Steps)
	}
	if r.Hold != nil {
		p.Hold = time.Duration(*r.Hold)
	}
	if r.MinRequests != nil {
		p.MinRequests = int64(*r.MinRequests)
	}
	if r.Errors != nil {
		p.Errors = *r.Errors
	}
	if r.Slower != nil {
		p.Slower = *r.Slower
	}
	if r.MaxErrors != nil {
		p.MaxErrors = fraction(*r.MaxErrors)
	}
	if r.Confidence != nil {
		p.Confidence = fraction(*r.Confidence)
	}
	p.Approve = slices.Clone(r.Approve)
	if r.Deadline != nil {
		p.Deadline = time.Duration(*r.Deadline)
	}
	if r.OnFail != "" {
		p.OnFail = release.OnFail(r.OnFail)
	}
	p.DryRun = r.DryRun
	return p
}

// fraction returns a percentage as a fraction: 99.9 as 0.999, which dividing by 100 does not give.
func fraction(percent float64) float64 {
	f, _ := strconv.ParseFloat(strconv.FormatFloat(percent, 'f', -1, 64)+"e-2", 64) // cannot fail: it is a number
	return f
}

// check returns the first mistake in a release.
func (r *Release) check() error {
	if field, err := r.mistake(); err != nil {
		if field != "" {
			return fmt.Errorf("release: %s: %w", field, err)
		}
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// mistake returns the first mistake, and the field that it is in; none if it is in several.
func (r *Release) mistake() (field string, err error) {
	for _, test := range []struct {
		field     string
		tolerance *float64
	}{{"errors", r.Errors}, {"slower", r.Slower}} {
		if t := test.tolerance; t != nil && *t != 0 && !(*t >= 1 && *t <= release.MaxTolerance) {
			return test.field, fmt.Errorf(`"%v" is outside 1 to %d; write how many times as often as production is tolerated, such as 1.5, or off (0 in JSON)`, *t, release.MaxTolerance)
		}
	}
	switch {
	case r.MaxErrors != nil && *r.MaxErrors != 0 && !(*r.MaxErrors > 0 && *r.MaxErrors < 100):
		return "max_errors", fmt.Errorf(`"%v" is not above 0 and below 100; write a percentage of the requests, such as 5, or off (0 in JSON)`, *r.MaxErrors)
	case r.Confidence != nil && !(*r.Confidence >= minReleaseConfidence && *r.Confidence <= maxReleaseConfidence):
		return "confidence", fmt.Errorf(`"%v" is outside %d to %v; write how sure to be as a percentage, such as 99`, *r.Confidence, minReleaseConfidence, maxReleaseConfidence)
	case r.Hold != nil && *r.Hold > 0 && time.Duration(*r.Hold) < minReleaseHold:
		return "hold", fmt.Errorf("%q is below %s; write how long each step lasts at least, with its unit, such as 10m", time.Duration(*r.Hold), minReleaseHold)
	case r.Notify != "" && !isNotifyURL(r.Notify):
		return "notify", errNotify(r.Notify)
	}
	return firstMistake(r.plan().Validate())
}

// firstMistake returns the first of what is wrong with a plan, and the field that it begins with.
func firstMistake(err error) (string, error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // Validate joins them itself
		err = all.Unwrap()[0]
	}
	if err == nil {
		return "", nil
	}
	if field, text, found := strings.Cut(err.Error(), ": "); found && slices.Contains(releaseFields, field) {
		return field, errors.New(text)
	}
	return "", err
}

// isNotifyURL tells whether a text is a URL that can be sent something.
func isNotifyURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return false
	}
	port, err := strconv.Atoi(u.Port())
	return u.Port() == "" || err == nil && port >= 1 && port <= 65535
}

func errNotify(text string) error {
	return fmt.Errorf("%q is not the URL of an HTTP server; write one such as https://hooks.example.com/releases", text)
}

// errReleaseName says why a route without a name has no release.
var errReleaseName = errors.New("release: the route has no name to start it by; add `name <name>`, or remove release")

// Interface guards
var _ json.Unmarshaler = (*Release)(nil)
