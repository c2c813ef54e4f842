package proxyos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/printable"
	"github.com/proxyos/caddy-proxyos/internal/release"
)

// stepLine is a line about a step.
type stepLine struct{ text, color string }

// The steps that are listed around the present one.
const stepsBefore, stepsAfter = 4, 8

// stepLines returns a line for each step.
func (s releaseStatus) stepLines() (lines []stepLine) {
	present := s.Step - 1 // below 0 if there is no release
	width := 0
	for _, step := range s.Steps {
		width = max(width, len(percentText(step)))
	}
	from, to := max(min(present-stepsBefore, len(s.Steps)), 0), min(max(present, 0)+stepsAfter, len(s.Steps))
	if from > 0 {
		lines = append(lines, stepLine{text: fmt.Sprintf(" %*s  %s done", width, "…", several(int64(from), "step"))})
	}
	for i := from; i < to; i++ {
		line := fmt.Sprintf(" %*s  ", width, percentText(s.Steps[i]))
		text, color := "", ""
		switch {
		case i < present:
			text = "done"
		case i == present && s.isActive():
			text = s.progress(lineWidth - len(line))
		case i == present:
			text, color = phaseText(release.Phase(s.Phase)), s.color()
		case !slices.Contains(s.Approve, s.Steps[i]), present >= 0 && !s.isActive():
		case slices.Contains(s.Approved, s.Steps[i]):
			text = "approved"
		default:
			text = "needs approval"
		}
		lines = append(lines, stepLine{strings.TrimRight(line+printable.Escape(text), " "), color})
	}
	if more := len(s.Steps) - to; more > 0 {
		lines = append(lines, stepLine{text: fmt.Sprintf(" %*s  %d more", width, "…", more)})
	}
	return lines
}

// barWidth is how wide a bar is, if there is room.
const barWidth = 19

// progress shows how far the present step is, in some columns.
func (s releaseStatus) progress(columns int) string {
	text := s.progressText()
	width := min(barWidth, columns-len(text)-4)
	if width < minClipped {
		return clip(text, columns)
	}
	filled := int(s.fraction() * float64(width))
	return "[" + strings.Repeat("#", filled) + strings.Repeat("-", width-filled) + "]  " + text
}

// fraction returns how far the present step is: its time or its requests, whatever is less.
func (s releaseStatus) fraction() float64 {
	part := func(of, all float64) float64 {
		if all <= 0 {
			return 1
		}
		return max(0, min(of/all, 1))
	}
	lasted, hold := s.held()
	return min(part(float64(lasted), float64(hold)), part(float64(s.Requests), float64(s.Needed)))
}

func (s releaseStatus) progressText() string {
	lasted, hold := s.held()
	return fmt.Sprintf("%s of %s, %d of %s", durationText(lasted), durationText(hold), s.Requests, requests(s.Needed))
}

// held returns how long the present step has lasted, and how long it has to.
func (s releaseStatus) held() (lasted, hold time.Duration) {
	lasted, _ = time.ParseDuration(s.Lasted)
	hold, _ = time.ParseDuration(s.Hold)
	return lasted, hold
}
