package proxyos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/printable"
	"github.com/proxyos/caddy-proxyos/internal/release"
)

// release prints where a release is.
func (p printer) release(name string, s releaseStatus) error {
	if p.json {
		return printJSON(p.out, s)
	}
	p.releaseBlock(name, s, time.Now())
	return nil
}

// releaseOf prints the release of a route that is shown. One that is over, or was never started, is
// told in a sentence.
func (p printer) releaseOf(name string, s releaseStatus) {
	switch {
	case s.isActive():
		fmt.Fprintln(p.out)
		p.releaseBlock(name, s, time.Now())
	case s.Phase == noRelease:
		p.paragraph("", "release: ", s.phaseText()+"; "+s.Reason)
	default:
		p.paragraph(s.color(), "release: ", fmt.Sprintf("%s, %s at %s, %s: %s", s.phaseText(), s.stepText(), percentText(s.Percent), clockText(s.ChangedAt, time.Now()), s.Reason))
	}
}

// releaseBlock prints where a release is: its steps, what was found, and what it waits for.
func (p printer) releaseBlock(name string, s releaseStatus, now time.Time) {
	p.paragraph(s.color(), "release of "+clip(name, 40)+": ", s.headline(now))
	for _, line := range s.stepLines() {
		fmt.Fprintln(p.out, p.color(line.color, line.text))
	}
	for _, test := range s.Tests {
		color := ""
		if test.Alarm {
			color = red
		}
		p.paragraph(color, fmt.Sprintf("%-12s", clip(test.Test, 11)), test.Text)
	}
	// nothing that somebody else wrote begins a line
	const waiting = "waiting for "
	switch reason, isWaiting := strings.CutPrefix(s.Reason, waiting); {
	case isWaiting:
		p.paragraph("", waiting, reason)
	case s.Failed:
		p.paragraph(red, "failed      ", reason)
	default:
		p.paragraph("", "reason      ", reason)
	}
	p.paragraph(magenta, "edited      ", s.Edited)
	if s.Phase == string(release.Running) && !s.Deadline.IsZero() {
		p.paragraph("", "deadline    ", clockText(s.Deadline, now)+"; it fails if it is not over by then")
	}
	if advice := s.advice(name); advice != "" {
		fmt.Fprintln(p.out, clip("  "+advice, lineWidth))
	}
}

// paragraph prints a wrapped text in a color, if there is one. Words that would not fit are cut.
func (p printer) paragraph(color, first, text string) {
	if text == "" {
		return
	}
	words := strings.Fields(printable.Escape(text))
	for i, word := range words {
		words[i] = clip(word, lineWidth-len([]rune(first)))
	}
	fmt.Fprintln(p.out, p.color(color, wrapped(first, strings.Join(words, " "))))
}

// isActive tells whether the release goes on, or may do so.
func (s releaseStatus) isActive() bool {
	return s.Phase == string(release.Running) || s.Phase == string(release.Paused)
}

// unapproved returns the steps yet to come that must be approved and are not.
func (s releaseStatus) unapproved() (steps []float64) {
	for _, step := range s.Steps {
		if step > s.Percent && slices.Contains(s.Approve, step) && !slices.Contains(s.Approved, step) {
			steps = append(steps, step)
		}
	}
	return steps
}

// color returns the color of a release that needs somebody's attention.
func (s releaseStatus) color() string {
	switch {
	case s.Failed:
		return red
	case s.Phase == string(release.Paused):
		return magenta
	}
	return ""
}

// phaseText names the phase in words.
func (s releaseStatus) phaseText() string {
	text := phaseText(release.Phase(s.Phase))
	switch {
	case s.Phase == noRelease:
		text = "none yet"
	case s.Phase == string(release.Paused) && s.Failed:
		text = "paused since it failed"
	case s.Phase == string(release.Stopped):
		text = "stopped"
	}
	if s.DryRun {
		text += " (dry run)"
	}
	return text
}

// stepText says which step it is, or was, on.
func (s releaseStatus) stepText() string { return fmt.Sprintf("step %d of %d", s.Step, len(s.Steps)) }

// short says in a few words where it is.
func (s releaseStatus) short() string {
	return fmt.Sprintf("release %s, %s at %s", s.phaseText(), s.stepText(), percentText(s.Percent))
}

func (s releaseStatus) headline(now time.Time) string {
	if s.Phase == noRelease {
		return s.phaseText()
	}
	text := fmt.Sprintf("%s, %s, started %s", s.phaseText(), s.stepText(), clockText(s.StartedAt, now))
	if s.Phase != string(release.Running) {
		text += ", changed " + clockText(s.ChangedAt, now)
	}
	return text
}

// advice says what somebody can do, if the release waits for that.
func (s releaseStatus) advice(name string) string {
	isFor := func(what string) bool {
		return slices.ContainsFunc(s.Waits, func(m release.Missing) bool { return m.For == what })
	}
	steps := s.unapproved()
	switch {
	case s.Phase == string(release.Paused) && s.Failed:
		return "to begin the step again: caddy proxyos release resume " + name + "; or abort"
	case s.Phase == string(release.Paused):
		return "to go on: caddy proxyos release resume " + name
	case isFor(release.ForApproval) && len(steps) > 0:
		return fmt.Sprintf("to approve it: caddy proxyos release approve %s %g", name, steps[0])
	}
	return ""
}

// clockText returns a time as its reader needs it: with the date unless that is today.
func clockText(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// durationText returns a duration in seconds, without what is zero: 10m, 4m10s, 1h.
func durationText(d time.Duration) string { return shortDuration(d.Round(time.Second)) }
