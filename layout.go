package proxyos

import (
	"fmt"
	"io"
	"strings"

	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// lineWidth is the width at which output is wrapped.
const lineWidth = 80

// All text that is laid out here is made safe for a terminal: it may come from a server, another
// operator, or what only claims to be the admin API.

// wrapped returns text in lines of at most lineWidth columns. The first line begins with
// first, the others with as many spaces. It never breaks a word.
func wrapped(first, text string) string {
	var b strings.Builder
	first = printable.Escape(first)
	b.WriteString(first)
	indent := len([]rune(first))
	column := indent
	for i, word := range strings.Fields(text) {
		word = printable.Escape(word)
		width := len([]rune(word))
		switch {
		case i == 0:
		case column+1+width > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
	}
	return b.String()
}

// table prints rows in columns as wide as their widest cells. The last column is wrapped. paint
// colors the text of a cell, if it is not nil.
func table(w io.Writer, indent string, rows [][]string, paint func(column int, text string) string) {
	var widths []int
	for _, row := range rows {
		for column := range row {
			row[column] = printable.Escape(row[column])
			text := row[column]
			if column == len(widths) {
				widths = append(widths, 0)
			}
			widths[column] = max(widths[column], len([]rune(text)))
		}
	}
	for number, row := range rows {
		var line strings.Builder
		line.WriteString(indent)
		column := len(indent)
		last := len(row) - 1
		for i, text := range row[:last] {
			shown := text
			if paint != nil && number > 0 {
				shown = paint(i, text)
			}
			gap := widths[i] - len([]rune(text)) + 2
			line.WriteString(shown + strings.Repeat(" ", gap))
			column += widths[i] + 2
		}
		// wrapped counts the columns of what comes before the last cell, which may be colored
		text := strings.TrimLeft(wrapped(strings.Repeat(" ", column), row[last]), " ")
		if paint != nil && number > 0 {
			text = paint(last, text)
		}
		fmt.Fprintln(w, strings.TrimRight(line.String()+text, " "))
	}
}

// tableWidth returns how wide a table is.
func tableWidth(indent string, rows [][]string) int {
	width := len(indent)
	for column := range rows[0] {
		widest := 0
		for _, row := range rows {
			widest = max(widest, len([]rune(printable.Escape(row[column]))))
		}
		width += widest + 2
	}
	return width - 2
}

// minClipped is how many columns of a name or an address to show at least.
const minClipped = 10

// fit shortens the cells of the first column to the space that the others leave.
func fit(indent int, rows [][]string) {
	left := lineWidth - indent
	for column := 1; column < len(rows[0]); column++ {
		width := 0
		for _, row := range rows {
			width = max(width, len([]rune(row[column])))
		}
		left -= width + 2
	}
	for _, row := range rows {
		row[0] = clip(row[0], max(left, minClipped))
	}
}

// clip shortens text to a width, and marks the cut. It makes the text safe, too.
func clip(text string, width int) string {
	runes := []rune(printable.Escape(text))
	if len(runes) <= width {
		return string(runes)
	}
	return string(runes[:width-1]) + "…"
}
