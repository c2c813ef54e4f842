package same

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A pair that differs is tried again, up to sameRepeats times: what depends on who is first, as a
// broken connection does, differs within one way, too.
//
// What comes once in a thousand tries may come in one way and not in the other, such as a time-out
// while the machine is busy. So a pair that still differs is looked at afresh, once its marks on
// upstreams are over: at least sameRepeats times, and until each way has seen what the other has, up to
// manyRepeats times or for longestLook. A difference that comes once in twenty tries or more often is
// found like that.
const (
	sameRepeats = 20
	manyRepeats = 1000
	longestLook = 2 * time.Minute
	marksLast   = 11 * time.Second
)

// outcomes are the different things that were seen of one pair in one way, by section.
type outcomes struct {
	way      *sameWay
	seen     map[string][][]string
	isAfresh bool // what is logged once a minute may have been logged before
}

// note adds what was seen.
func (o *outcomes) note(seen *sameSeen) {
	o.way = seen.way
	if o.seen == nil {
		o.seen = make(map[string][][]string)
	}
	for name, lines := range seen.sections {
		if !o.has(name, lines) {
			o.seen[name] = append(o.seen[name], lines)
		}
	}
}

func (o *outcomes) has(section string, lines []string) bool {
	if o.isAfresh && section == rareSection {
		return !slices.ContainsFunc(lines, func(line string) bool { return !slices.Contains(o.way.rare, line) })
	}
	return slices.ContainsFunc(o.seen[section], func(known []string) bool { return slices.Equal(known, lines) })
}

// difference describes what was seen in one of two ways and never in the other, or is empty.
func (o *outcomes) difference(other *outcomes) string {
	return o.beyond(other) + other.beyond(o)
}

// beyond describes what was seen here and never there.
func (o *outcomes) beyond(other *outcomes) string {
	var names []string
	for name := range o.seen {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		for _, lines := range o.seen[name] {
			if other.has(name, lines) {
				continue
			}
			var known []string
			if all := other.seen[name]; len(all) > 0 {
				known = all[0]
			}
			b.WriteString(lineDifference(name, o.way.kind, lines, other.way.kind, known))
		}
	}
	return b.String()
}

// lineDifference describes how two lists of lines differ, or is empty.
func lineDifference(section, a string, linesA []string, b string, linesB []string) string {
	if slices.Equal(linesA, linesB) {
		return ""
	}
	for len(linesA) > 0 && len(linesB) > 0 && linesA[0] == linesB[0] {
		linesA, linesB = linesA[1:], linesB[1:]
	}
	for len(linesA) > 0 && len(linesB) > 0 && linesA[len(linesA)-1] == linesB[len(linesB)-1] {
		linesA, linesB = linesA[:len(linesA)-1], linesB[:len(linesB)-1]
	}
	return fmt.Sprintf("%s:\n  %s: %s\n  %s: %s\n", section, a, strings.Join(linesA, "\n\t"), b, strings.Join(linesB, "\n\t"))
}
