package proxyos

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentedBlock is a block, and where docs/reference.md describes it.
type documentedBlock struct {
	path    string // in the grammars, from the outermost block
	section string // with a table of its options, or a text
	rows    []documentedRow
}

type documentedRow struct {
	name, usage string
	times       times
}

func documented[T any](path, section string, b block[T]) documentedBlock {
	var rows []documentedRow
	for _, s := range b {
		rows = append(rows, documentedRow{s.name(), s.usage, s.times})
	}
	return documentedBlock{path, section, rows}
}

var documentedBlocks = []documentedBlock{
	documented("proxyos", "Options of a route", directiveBlock),
	documented("proxyos/upstream", "Options of an upstream", upstreamBlock),
	documented("proxyos/staging", "Options of staging", stagingBlock),
	documented("proxyos/release", "Options of a release", releaseBlock),
	documented("proxyos_dashboard", "The dashboard", dashboardBlock),
	documented("{/proxyos", "The global option", globalBlock),
	documented("lb_policy", "The policy least_latency", leastLatencyBlock),
}

// A subdirective is in the grammar as in its table, or a text says whose it is.
func TestReferenceHasEverySubdirective(t *testing.T) {
	text := readReference(t)
	grammars := grammarsIn(text)
	for _, b := range documentedBlocks {
		for _, row := range b.rows {
			inText := "`" + row.name + "`"
			if !slices.Contains(grammars[b.path], row.usage) && !strings.Contains(prose(text, b.section), inText) &&
				!strings.Contains(prose(text, "What reverse_proxy takes"), inText) {
				t.Errorf("docs/reference.md has neither `%s` in the grammar of %s nor %s in %q", row.usage, b.path, inText, b.section)
			}
		}
	}
}

func TestEverySubdirectiveInTheReferenceExists(t *testing.T) {
	text := readReference(t)
	grammars := grammarsIn(text)
	firstCell := regexp.MustCompile("(?m)^\\| `([a-z_]+)")
	for _, b := range documentedBlocks {
		if len(grammars[b.path]) < min(2, len(b.rows)) {
			t.Errorf("docs/reference.md has no grammar of %s", b.path)
		}
		for _, usage := range grammars[b.path] {
			if !slices.ContainsFunc(b.rows, func(row documentedRow) bool { return row.usage == usage }) {
				t.Errorf("the grammar of %s in docs/reference.md has `%s`, but its table does not", b.path, usage)
			}
		}
		for _, cell := range firstCell.FindAllStringSubmatch(section(text, b.section), -1) {
			if !slices.ContainsFunc(b.rows, func(row documentedRow) bool { return row.name == cell[1] }) {
				t.Errorf("%q in docs/reference.md has a row for %s, but the table of %s does not", b.section, cell[1], b.path)
			}
		}
	}
}

func TestReferenceSaysWhatMayBeRepeated(t *testing.T) {
	said := regexp.MustCompile("(?s)\n\n([^.]*) may be repeated").FindStringSubmatch(section(readReference(t), "The directive"))
	if said == nil {
		t.Fatal("docs/reference.md does not say which subdirectives may be repeated")
	}
	for _, b := range documentedBlocks {
		for _, row := range b.rows {
			if got := strings.Contains(said[1], "`"+row.name+"`"); got != (row.times == repeatable) {
				t.Errorf("docs/reference.md says that %s may be repeated: %v", row.name, got)
			}
		}
	}
}

func readReference(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns the text below a heading, up to the next of its level.
func section(text, heading string) string {
	_, text, _ = strings.Cut(text, "\n## "+heading+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

func prose(text, heading string) string {
	return fence.ReplaceAllString(section(text, heading), "")
}

// grammarsIn returns the lines of each block in the grammars, by its path.
func grammarsIn(text string) map[string][]string {
	lines := make(map[string][]string)
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] != "text" {
			continue
		}
		var path []string
		for line := range strings.Lines(block[2]) {
			line = strings.TrimSpace(line)
			name, _, _ := strings.Cut(line, " ")
			in := strings.Join(path, "/")
			switch {
			case line == "" || line[0] == '#':
			case line == "}" && len(path) > 0:
				path = path[:len(path)-1]
			case line == "{" || strings.HasSuffix(line, " {"):
				lines[in] = append(lines[in], line+"...}")
				path = append(path, name)
			default:
				lines[in] = append(lines[in], line)
			}
		}
	}
	return lines
}
