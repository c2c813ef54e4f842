package proxyos

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressInterval is how often progress is told where a line cannot be redrawn, such as in the
// log of a script.
const progressInterval = 5 * time.Second

// progress is one line that says what a command waits for: redrawn in a terminal, and printed
// again every 5 seconds elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time
	last     string
	told     time.Time // zero: not yet, or the line is ended
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, terminal: isTerminal(out), now: time.Now}
}

// show says what is waited for.
func (p *progress) show(text string) {
	text = clip(text, lineWidth-1) // a full line may move the cursor to the next one
	now := p.now()
	switch {
	case p.out == nil, text == p.last && p.terminal, !p.terminal && !p.told.IsZero() && now.Sub(p.told) < progressInterval:
		return
	case p.terminal:
		fmt.Fprint(p.out, "\r"+text+"\x1b[K")
	default:
		fmt.Fprintln(p.out, text)
	}
	p.last, p.told = text, now
}

// end removes the line from a terminal, for what is printed next.
func (p *progress) end() {
	if p.terminal && !p.told.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	p.last, p.told = "", time.Time{}
}

// isTerminal tells whether what is written is shown in a terminal.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
