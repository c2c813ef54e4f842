package proxyos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// releaseWatch shows how a release goes on, until it is over or paused. In a terminal it redraws
// all that is known. Elsewhere it prints a line at each change, and one every minute: a release takes
// hours.
type releaseWatch struct {
	client adminClient
	out    printer
	name   string

	interval time.Duration // between two looks
	quiet    time.Duration // the longest time without a line
	patience time.Duration // how long Caddy may not answer: it may be restarting
	now      func() time.Time

	last string    // what has changed if it differs
	told time.Time // when the last line was printed
}

const (
	watchedLines    = time.Minute
	watchedPatience = time.Minute
	watchedAnswer   = 5 * time.Second // how long an answer may take
)

func newReleaseWatch(c adminClient, out printer, name string) *releaseWatch {
	return &releaseWatch{client: c, out: out, name: name, interval: redrawInterval, quiet: watchedLines, patience: watchedPatience, now: time.Now}
}

// run watches a release from a status on. It returns an exit code, and why that is not 0.
func (w *releaseWatch) run(status releaseStatus) (int, error) {
	ctx, stop := signal.NotifyContext(w.client.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	started := status.StartedAt
	heard := w.now()
	if err := w.show(status, true); err != nil {
		return exitFailed, err
	}
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	for {
		if code, err := w.conclude(status); code >= 0 {
			return code, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return exitFailed, fmt.Errorf("no longer watching; the release of route %q goes on without this command: `caddy proxyos release abort %s` ends it", w.name, w.name)
		}
		next, err := w.look(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil && next.StartedAt.Equal(started):
			status, heard = next, w.now()
			if err := w.show(status, false); err != nil {
				return exitFailed, err
			}
		case err == nil:
			return exitFailed, fmt.Errorf("the release of route %q that was watched is over: another one was started at %s", w.name, clockText(next.StartedAt, w.now()))
		case w.now().Sub(heard) >= w.patience:
			return exitFailed, fmt.Errorf("nothing has been heard of the release of route %q for %s, and it may go on: %w", w.name, durationText(w.patience), err)
		default:
			w.lost(status, heard, err)
		}
	}
}

// look asks where the release is. A Caddy that has just started may not know yet.
func (w *releaseWatch) look(ctx context.Context) (releaseStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, watchedAnswer)
	defer cancel()
	status, err := adminClient{ctx, w.client.address}.release(w.name)
	if err == nil && status.Phase == noRelease {
		err = fmt.Errorf("no release of route %q is known there any more", w.name)
	}
	return status, err
}

// conclude returns the exit code for a release that is over or paused; below 0 if it goes on.
func (w *releaseWatch) conclude(s releaseStatus) (code int, err error) {
	switch release.Phase(s.Phase) {
	case release.Running:
		return -1, nil
	case release.Done:
		return 0, nil
	case release.Paused:
		return exitPaused, fmt.Errorf("the release of route %q is paused; `caddy proxyos release resume %s` or `abort` ends that", w.name, w.name)
	case release.RolledBack, release.Stopped:
		return exitRolledBack, fmt.Errorf("the release of route %q is not done: it is %s", w.name, s.phaseText())
	}
	return exitFailed, fmt.Errorf("the release of route %q is in a phase that this command does not know: %q", w.name, s.Phase)
}

// show shows where the release is, if there is anything to tell.
func (w *releaseWatch) show(s releaseStatus, first bool) error {
	now := w.now()
	if isTerminal(w.out.out) && !w.out.json {
		w.draw(s, nil, first)
		return nil
	}
	what := s.whatMatters()
	changed := what != w.last
	switch {
	case !changed && (w.out.json || now.Sub(w.told) < w.quiet):
		return nil
	case w.out.json:
		if err := printJSONLine(w.out.out, s); err != nil {
			return err
		}
	default:
		first := now.Local().Format(time.TimeOnly) + "  "
		w.out.paragraph(s.color(), first, s.line())
		if changed {
			w.out.paragraph("", strings.Repeat(" ", len(first)), s.Reason)
			w.out.paragraph("", strings.Repeat(" ", len(first)), s.Edited)
		}
	}
	w.last, w.told = what, now
	return nil
}

// lost says that Caddy does not answer, once until it does again.
func (w *releaseWatch) lost(s releaseStatus, heard time.Time, err error) {
	if isTerminal(w.out.out) && !w.out.json {
		w.draw(s, err, false)
		return
	}
	what := "lost " + heard.String()
	if w.last == what {
		return
	}
	w.last = what
	printError(w.out.notes, fmt.Errorf("%w; asking again for %s", err, durationText(w.patience)))
}

// draw redraws all that is known, and what is wrong.
func (w *releaseWatch) draw(s releaseStatus, err error, first bool) {
	var page bytes.Buffer
	inner := w.out
	inner.out = &page
	inner.releaseBlock(w.name, s, w.now())
	if err != nil {
		printError(&page, err)
	}
	w.out.draw(page.String(), first)
}

// whatMatters returns a text that differs after each change that is worth a line of its own. The
// counts are not: they change all the time.
func (s releaseStatus) whatMatters() string {
	var waits, alarms []string
	for _, wait := range s.Waits {
		waits = append(waits, wait.For)
	}
	for _, test := range s.Tests {
		if test.Alarm {
			alarms = append(alarms, test.Test)
		}
	}
	slices.Sort(waits)
	return fmt.Sprint(s.Phase, s.Failed, s.Step, s.Steps, s.Approved, s.Edited, waits, alarms)
}

// line says in one line where the release is.
func (s releaseStatus) line() string {
	text := fmt.Sprintf("%s, %s at %s", s.phaseText(), s.stepText(), percentText(s.Percent))
	if s.isActive() {
		text += ", " + s.progressText()
	}
	return text
}
