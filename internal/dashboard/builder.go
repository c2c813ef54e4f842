package dashboard

import (
	"hash/fnv"
	"io"
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
	hash := fnv.New64a()
	for _, c := range b.cells {
		io.WriteString(hash, c.Name)
		hash.Write([]byte{0})
	}
	for _, text := range b.fixed {
		io.WriteString(hash, text)
		hash.Write([]byte{0})
	}
	return strconv.FormatUint(hash.Sum64(), 36)
}

// indexed is the prefix of the names of one of several things.
func indexed(prefix, kind string, i int) string {
	return strings.TrimPrefix(prefix+"."+kind+strconv.Itoa(i), ".")
}
