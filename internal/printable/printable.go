// Package printable makes text from elsewhere safe to show in a terminal. What comes from a
// server, a certificate or another operator may contain escape sequences, line breaks, and
// characters that reverse the direction of the text.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shortLength is the largest length of what Short returns, in characters.
const shortLength = 200

// Escape returns the text with everything in it escaped that is not a letter, a mark, a number,
// punctuation, a symbol or a simple space, as Go writes it in a string: \x1b, \n, \u202e. The
// result is one line of valid UTF-8.
func Escape(text string) string { return escape(text, len(text)*len(`\x00`)) }

// Short is Escape for a text that may be long: it returns at most 200 characters. If something is
// missing, the last is an ellipsis.
func Short(text string) string { return escape(text, shortLength) }

// Cut is Short for another number of characters.
func Cut(text string, most int) string { return escape(text, most) }

// escape is Escape for a result of at most some characters.
func escape(text string, most int) string {
	var b strings.Builder
	length, fits := 0, 0 // of the result, in characters; in bytes, with room for the ellipsis
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		piece := text[:size]
		switch {
		case r == utf8.RuneError && size == 1:
			piece = `\x` + strconv.FormatUint(uint64(text[0])|0x100, 16)[1:]
		case !unicode.IsPrint(r):
			quoted := strconv.QuoteToASCII(piece)
			piece = quoted[1 : len(quoted)-1]
		}
		length += utf8.RuneCountInString(piece)
		if length > most {
			return b.String()[:fits] + "…"
		}
		b.WriteString(piece)
		if length < most {
			fits = b.Len()
		}
		text = text[size:]
	}
	return b.String()
}

// listLength is how many items List shows at most.
const listLength = 10

// List joins the first ten items by commas, each shortened by Short, and says how many more there
// are. more counts those that are not in items.
func List(items []string, more int) string {
	if len(items) > listLength {
		more += len(items) - listLength
		items = items[:listLength]
	}
	short := make([]string, len(items))
	for i, item := range items {
		short[i] = Short(item)
	}
	if more > 0 {
		return strings.Join(short, ", ") + " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(short, ", ")
}
