package proxyos

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releaseExplanation says how a release goes on, and what makes it fail.
type releaseExplanation struct {
	Steps  []float64 `json:"steps"`
	GoesOn string    `json:"goes_on"`
	OnFail string    `json:"on_fail"`
	Fails  string    `json:"fails"`
	DryRun bool      `json:"dry_run,omitempty"`
}

// describeRelease adds what the release of a route would do, if it has one.
func (e *routeExplanation) describeRelease(p *plan) {
	if p.release != nil {
		e.Release = explainRelease(p.release.plan())
	}
}

func explainRelease(p release.Plan) *releaseExplanation {
	e := &releaseExplanation{Steps: p.Steps, OnFail: string(p.OnFail), DryRun: p.DryRun}

	requests := fmt.Sprintf("%d requests", p.MinRequests)
	if p.MinRequests == 1 {
		requests = "1 request"
	}
	if p.Hold > 0 {
		requests = shortDuration(p.Hold) + " and " + requests
	}
	each := "each for "
	if len(p.Steps) == 1 {
		each = "for "
	}
	e.GoesOn = phrase("and", p.Steps) + " %, " + each + requests + " or more"
	if len(p.Approve) > 0 {
		e.GoesOn += "; " + phrase("and", p.Approve) + " % once approved"
	}

	var limits []string
	if p.Errors > 0 {
		limits = append(limits, fmt.Sprintf("%vx production's errors", p.Errors))
	}
	if p.Slower > 0 {
		limits = append(limits, fmt.Sprintf("%vx production's slow answers", p.Slower))
	}
	if p.MaxErrors > 0 {
		limits = append(limits, fmt.Sprintf("%.9g %% errors", p.MaxErrors*100))
	}
	sure := "each with"
	if len(limits) == 1 {
		sure = "with"
	}
	e.Fails = fmt.Sprintf("above %s, %s %.9g %% confidence; or after %s", phrase("or", limits), sure, p.Confidence*100, shortDuration(p.Deadline))
	return e
}

// print prints what would happen, for people.
func (e *releaseExplanation) print(w io.Writer) {
	title, end := "release", "rolls back"
	switch pauses := e.OnFail == string(release.FailPause); {
	case e.DryRun && pauses:
		title, end = "release (dry run)", "would pause"
	case e.DryRun:
		title, end = "release (dry run)", "would roll back"
	case pauses:
		end = "pauses"
	}
	fmt.Fprintln(w, wrapped("  "+title+": ", e.GoesOn))
	fmt.Fprintln(w, wrapped("  "+end+": ", e.Fails))
}

// phrase lists values: "1, 5 and 25".
func phrase[T any](conjunction string, all []T) string {
	var text strings.Builder
	for i, one := range all {
		switch {
		case i == 0:
		case i == len(all)-1:
			text.WriteString(" " + conjunction + " ")
		default:
			text.WriteString(", ")
		}
		fmt.Fprint(&text, one)
	}
	return text.String()
}

// shortDuration is a duration without the units that are 0: 10m instead of 10m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
