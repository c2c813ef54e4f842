package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// table builds a Markdown table: text to the left, figures to the right.
type table struct {
	text strings.Builder
}

func newTable(columns ...string) *table {
	t := new(table)
	t.add(columns...)
	for range columns {
		t.text.WriteString("|---")
	}
	t.text.WriteString("|\n")
	return t
}

func (t *table) add(cells ...string) {
	fmt.Fprintf(&t.text, "| %s |\n", strings.Join(cells, " | "))
}

func (t *table) String() string { return t.text.String() }

// thousands formats a whole number with commas.
func thousands(value float64) string {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return "none"
	}
	digits := strconv.Itoa(int(math.Round(math.Abs(value))))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if value <= -0.5 {
		return "-" + digits
	}
	return digits
}

// ratio formats a ratio. It is empty if there is none.
func ratio(value float64) string {
	if math.IsNaN(value) {
		return ""
	}
	return fmt.Sprintf("%.2f", value)
}

func capitalized(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
