package proxyos

import (
	"os"
	"strings"
	"testing"
)

// The table of docs/releases.md has what the simulations of internal/release have found.
func TestTheTableOfReleasesIsWhatWasFound(t *testing.T) {
	found, err := os.ReadFile("internal/release/testdata/found.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]bool)
	for line := range strings.Lines(string(found)) {
		rows[strings.Join(strings.Fields(line), " ")] = true
	}
	text, err := os.ReadFile("docs/releases.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| production fails | share | staging fails | median | 90 % |\n|---|---|---|---|---|\n")
	if !ok {
		t.Fatal("there is no table")
	}
	told := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		told++
		if row := strings.Join(strings.Fields(strings.ReplaceAll(line, "|", "")), " "); !rows[row] {
			t.Errorf("nothing was found of %s", row)
		}
	}
	if told < 10 {
		t.Errorf("the table has %d rows", told)
	}
}
