package dashboard

import (
	"slices"
	"strconv"
	"strings"
)

// releaseView is the release of a route.
type releaseView struct {
	Steps []stepView

	Phase, Class, Reason         cell
	Started, Lasted, Requests    cell
	Evidence, EvidenceHidden     cell
	Edited, EditedHidden         cell
	CanStart, CanPause           cell
	CanResume, CanAbort, Version cell
}

// stepView is a step of a release.
type stepView struct {
	Percent  string // as a number
	Text     string
	Class    cell
	Mark     cell // what it is, in a word
	Approval cell // hides the button
}

func (b *builder) release(r *Release, steers bool) *releaseView {
	const p = "release"
	text, class := releasePhase(r)
	v := &releaseView{
		Phase: b.cell(p, "phase", text), Class: b.cell(p, "class", class), Reason: b.cell(p, "reason", long(r.Reason)),
		Started: b.cell(p, "started", clockText(r.StartedAt, b.now)), Lasted: b.cell(p, "lasted", lastedText(r)),
		Requests: b.cell(p, "requests", neededText(r)),
	}
	var evidence []string
	for _, line := range r.Evidence {
		evidence = append(evidence, long(line))
	}
	evidence = evidence[:min(len(evidence), 20)]
	v.Evidence, v.EvidenceHidden = b.cell(p, "evidence", strings.Join(evidence, "\n")), b.hidden(p, "evidence.hidden", len(evidence) > 0)
	v.Edited, v.EditedHidden = b.cell(p, "edited", long(r.Edited)), b.hidden(p, "edited.hidden", r.Edited != "")
	isActive := r.Phase == "running" || r.Phase == "paused"
	for i, percent := range r.Steps {
		v.Steps = append(v.Steps, b.step(indexed(p, "s", i), r, i, percent, steers && isActive, steers))
	}
	if steers {
		v.CanStart, v.CanPause = b.hidden(p, "start", !isActive), b.hidden(p, "pause", r.Phase == "running")
		v.CanResume, v.CanAbort = b.hidden(p, "resume", r.Phase == "paused"), b.hidden(p, "abort", isActive)
		v.Version = b.cell(p, "version", r.Version)
	}
	return v
}

func (b *builder) step(p string, r *Release, i int, percent float64, canApprove, steers bool) stepView {
	number := strconv.FormatFloat(percent, 'f', -1, 64)
	v := stepView{Percent: b.fix(number), Text: number + " %"}
	waits := slices.Contains(r.Approve, percent)
	mark, class := "", plain
	switch {
	case r.Phase == "none":
	case r.Phase == "done" || i+1 < r.Step:
		mark, class = "done", good
	case i+1 == r.Step && r.Phase == "running":
		mark, class = "now", good
	case i+1 == r.Step:
		mark, class = phaseText(r.Phase)+" here", warn
	}
	if waits && mark != "done" {
		mark = strings.TrimPrefix(mark+", to be approved", ", ")
	}
	v.Mark, v.Class = b.cell(p, "mark", mark), b.cell(p, "class", class)
	if steers {
		v.Approval = b.hidden(p, "approve", canApprove && waits)
	}
	return v
}

// phaseText names a phase in words.
func phaseText(phase string) string {
	switch phase {
	case "none":
		return "not started"
	case "rolled_back":
		return "rolled back"
	}
	return short(phase)
}

// releasePhase says where a release is.
func releasePhase(r *Release) (text, class string) {
	switch r.Phase {
	case "running", "done":
		class = good
	case "paused":
		class = warn
	case "rolled_back":
		class = bad
	default:
		class = plain
	}
	text = phaseText(r.Phase)
	if r.DryRun {
		text += " (dry run: the share stays as it is)"
	}
	return text, class
}

// releaseShort says it in a few words.
func releaseShort(r *Release) (text, class string) {
	text, class = releasePhase(r)
	if r.Phase == "running" || r.Phase == "paused" {
		text = phaseText(r.Phase) + ", step " + strconv.Itoa(r.Step) + " of " + strconv.Itoa(len(r.Steps)) + " at " + percentText(r.Percent)
		if r.DryRun {
			text += " (dry run)"
		}
	}
	return text, class
}

func lastedText(r *Release) string {
	switch {
	case r.Lasted == "":
		return none
	case r.Hold == "":
		return short(r.Lasted)
	}
	return short(r.Lasted) + " of at least " + short(r.Hold)
}

func neededText(r *Release) string {
	return countText(uint64(max(r.Requests, 0))) + " of " + countText(uint64(max(r.Needed, 0)))
}
