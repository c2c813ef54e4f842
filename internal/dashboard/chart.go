package dashboard

import (
	"slices"
	"strconv"
	"strings"
)

// The size of a chart in the units of its viewBox. The page has the same numbers.
const (
	chartWidth  = lineLength
	chartHeight = 32
)

// chart is a line of the last 15 minutes.
type chart struct {
	Points cell
	Most   cell // the largest value
}

// pageCache keeps what is likely to be the same in the next view of a page: its charts, while their
// lines are the same, and how many cells it has.
type pageCache struct {
	age    int64
	charts map[string][2]string // by prefix: points and largest value
	cells  int
}

// chart draws a line, or takes it from the cache. The line is only asked for if it is drawn.
func (b *builder) chart(prefix string, line func() []float64, text func(float64) string) chart {
	drawn, ok := b.cache.charts[prefix]
	if !ok {
		values := line()
		drawn[0], drawn[1] = points(values), none
		if len(values) > 0 {
			drawn[1] = text(slices.Max(values))
		}
		b.cache.charts[prefix] = drawn
	}
	return chart{b.cell(prefix, "points", drawn[0]), b.cell(prefix, "most", drawn[1])}
}

// refresh forgets charts of another age.
func (c *pageCache) refresh(age int64) {
	if c.charts == nil || c.age != age {
		c.age, c.charts = age, make(map[string][2]string)
	}
}

// points draws a line that ends at the right edge and fills the height. Points between two of the
// same height are left out.
func points(line []float64) string {
	if len(line) == 0 {
		return ""
	}
	most := slices.Max(line)
	height := func(i int) int {
		if most <= 0 {
			return chartHeight - 1
		}
		return chartHeight - 1 - int(line[i]/most*(chartHeight-2)+0.5)
	}
	var b strings.Builder
	for i := range line {
		y := height(i)
		if i > 0 && i < len(line)-1 && height(i-1) == y && height(i+1) == y {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(chartWidth - len(line) + i))
		b.WriteByte(',')
		b.WriteString(strconv.Itoa(y))
	}
	return b.String()
}
