package dashboard

import (
	"strconv"
	"strings"
	"time"
)

// cell is a value on the page that changes while it is open. Its name has indexes, never a name that
// somebody else has chosen.
type cell struct{ Name, Value string }

// builder makes a view. Each value in it is a cell, or is fixed: what is fixed and the names of the
// cells are the structure of the page, and a page with another structure must be loaded again.
type builder struct {
	now     time.Time
	history *History
	cache   *pageCache
	cells   []cell
	fixed   []string
}

// cell makes a cell. The parts of its name are joined by dots.
func (b *builder) cell(prefix, name, value string) cell {
	if prefix != "" {
		name = prefix + "." + name
	}
	c := cell{name, value}
	b.cells = append(b.cells, c)
	return c
}

// hidden makes a cell that hides its element unless something is to be seen.
func (b *builder) hidden(prefix, name string, isSeen bool) cell {
	if isSeen {
		return b.cell(prefix, name, "")
	}
	return b.cell(prefix, name, "hidden")
}

// fix makes a value that stays.
func (b *builder) fix(value string) string {
	b.fixed = append(b.fixed, value)
	return value
}

// fixIf is fix for something that is there or not.
func (b *builder) fixIf(is bool) bool {
	b.fix(strconv.FormatBool(is))
	return is
}

// structure returns what tells two structures apart.
func (b *builder) structure() string {
	hash := uint64(fnvOffset)
	add := func(text string) {
		for i := range len(text) {
			hash = (hash ^ uint64(text[i])) * fnvPrime
		}
		hash *= fnvPrime // as for a byte of 0, which ends the text
	}
	for _, c := range b.cells {
		add(c.Name)
	}
	for _, text := range b.fixed {
		add(text)
	}
	return strconv.FormatUint(hash, 36)
}

// The numbers of the 64-bit hash FNV-1a. The one of hash/fnv copies each string.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// indexed is the prefix of the names of one of several things.
func indexed(prefix, kind string, i int) string {
	return strings.TrimPrefix(prefix+"."+kind+strconv.Itoa(i), ".")
}
