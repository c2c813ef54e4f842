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
// upstreams are over, and judged after each of the numbers of tries in judgedAfter, or for the last time
// when longestLook is over, until each way has seen what the other has. What comes in each tenth try of
// one way is a difference, too, if it comes in no more than each hundredth of the other. Of pairs where
// something comes in half the tries of one way, two thirds are found that way if it comes in each
// two-hundredth of the other, and a fifth if it comes in each hundredth.
const (
	sameRepeats = 20
	longestLook = 2 * time.Minute
	marksLast   = 11 * time.Second
)

var judgedAfter = []int{2 * sameRepeats, 100, 300, 1000}

// outcomes are the different things that were seen of one pair in one way, by section.
type outcomes struct {
	way      *sameWay
	tries    int
	seen     map[string][]outcome
	isAfresh bool // what is logged once a minute may have been logged before
}

// outcome is what was seen in a section, and how often.
type outcome struct {
	lines []string
	times int
}

// note adds what was seen.
func (o *outcomes) note(seen *sameSeen) {
	o.way = seen.way
	o.tries++
	for name, lines := range seen.sections {
		o.add(name, outcome{lines, 1})
	}
}

func (o *outcomes) add(section string, more outcome) {
	if o.seen == nil {
		o.seen = make(map[string][]outcome)
	}
	for i, known := range o.seen[section] {
		if slices.Equal(known.lines, more.lines) {
			o.seen[section][i].times += more.times
			return
		}
	}
	o.seen[section] = append(o.seen[section], more)
}

// again returns the outcomes for another look. They begin with what was logged that is logged once a minute, since it
// will not be logged again.
func (o *outcomes) again() outcomes {
	afresh := outcomes{way: o.way, isAfresh: true}
	for _, logged := range o.seen[rareSection] {
		afresh.add(rareSection, logged)
	}
	return afresh
}

// has tells whether a way has seen what another has seen so many times in as many tries. It has not if that
// comes in a tenth of the other's tries, and in no more than a hundredth of its own.
func (o *outcomes) has(section string, other outcome) bool {
	if o.isAfresh && section == rareSection {
		return !slices.ContainsFunc(other.lines, func(line string) bool { return !slices.Contains(o.way.rare, line) })
	}
	times := 0
	for _, known := range o.all(section) {
		if slices.Equal(known.lines, other.lines) {
			times += known.times
		}
	}
	isOften, isRare := other.times*10 >= o.tries, times*100 <= o.tries
	return times > 0 && !(isOften && isRare)
}

// difference describes what was seen in one of two ways and never in the other, or is empty.
func (o *outcomes) difference(other *outcomes) string {
	return o.beyond(other) + other.beyond(o)
}

// beyond describes what was seen here and never there, or hardly ever. That there was nothing in a section
// is seen, too.
func (o *outcomes) beyond(other *outcomes) string {
	var names []string
	for name := range o.seen {
		names = append(names, name)
	}
	for name := range other.seen {
		if o.seen[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		for _, seen := range o.all(name) {
			if other.has(name, seen) {
				continue
			}
			var known []string // something else that was seen there instead
			for _, instead := range other.seen[name] {
				if !slices.Equal(instead.lines, seen.lines) {
					known = instead.lines
					break
				}
			}
			b.WriteString(lineDifference(name, fmt.Sprintf("%s, in %d of %d tries", o.way.kind, seen.times, o.tries), seen.lines, other.way.kind, known))
		}
	}
	return b.String()
}

// all returns what was seen in a section. What is logged once a minute is missing nearly always.
func (o *outcomes) all(section string) []outcome {
	all, missing := slices.Clone(o.seen[section]), o.tries
	for _, seen := range all {
		missing -= seen.times
	}
	if missing > 0 && section != rareSection {
		all = append(all, outcome{nil, missing})
	}
	return all
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
