package proxyos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// redrawInterval is how often --watch redraws.
const redrawInterval = time.Second

// watchable adds the flag of a command that can be repeated.
func (o *steerOptions) watchable(command *cobra.Command) *cobra.Command {
	command.Flags().BoolVarP(&o.watch, "watch", "w", false, "Redraw once a second, until Ctrl-C")
	return command
}

// redraw prints what show prints, then again once a second until the context ends or somebody
// interrupts. In a terminal it takes the place of what was there. The first failure ends it, a
// later one is shown: Caddy may be restarting.
func redraw(ctx context.Context, p printer, show func(printer) (int, error)) (int, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ticker := time.NewTicker(redrawInterval)
	defer ticker.Stop()
	for first := true; ; first = false {
		var page bytes.Buffer
		inner := p
		inner.out = &page
		code, err := show(inner)
		switch {
		case err != nil && first:
			return code, err
		case err != nil:
			page.Reset()
			printError(&page, err)
		}
		p.draw(page.String(), first)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, nil
		}
	}
}

// draw prints a page. In a terminal it clears what is left of the one before, line by line, so
// that nothing flickers.
func (p printer) draw(page string, first bool) {
	switch {
	case isTerminal(p.out) && first:
		fmt.Fprint(p.out, "\x1b[2J\x1b[H", page)
	case isTerminal(p.out):
		fmt.Fprint(p.out, "\x1b[H", strings.ReplaceAll(page, "\n", "\x1b[K\n"), "\x1b[J")
	case first || p.json:
		fmt.Fprint(p.out, page)
	default:
		fmt.Fprint(p.out, "\n", page)
	}
}

// The colors of what is wrong and of what is unusual. Both can be read on light and on dark.
const (
	red     = "31"
	magenta = "35"
)

// takesColor tells whether to color what is written: in a terminal that can, unless NO_COLOR is
// set (https://no-color.org).
func takesColor(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// color colors a text, if there is color.
func (p printer) color(code, text string) string {
	if !p.colors || code == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// paint colors the cells that say that something is wrong. The first has a name or an address.
func (p printer) paint(column int, text string) string {
	switch {
	case column == 0:
	case text == healthDown, strings.Contains(text, "failing"), strings.HasPrefix(text, "0 of ") && text != "0 of 0":
		return p.color(red, text)
	case text == healthTrial, text == healthFull, text == "differs", text == "silent", strings.HasSuffix(text, healthTrial):
		return p.color(magenta, text)
	}
	return text
}
