package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// snippet is a fenced block of a document.
type snippet struct {
	file     string
	line     int
	language string
	text     string
}

func (s snippet) String() string { return fmt.Sprintf("%s:%d", s.file, s.line) }

func TestEverySnippetOfTheDocumentsLoads(t *testing.T) {
	certificates := trustedCertificates(t)
	found := make(map[string]int)
	for _, s := range snippets(t) {
		found[s.language]++
		t.Run(s.String(), func(t *testing.T) {
			switch s.language {
			case "caddyfile":
				if string(caddyfile.Format([]byte(s.text))) != s.text {
					t.Error("caddy fmt would change it")
				}
				whole := strings.ReplaceAll(wholeCaddyfile(s.text), "/etc/caddy/", certificates)
				validate(t, adapt(t, caddyfile.Format([]byte(whole))))
			case "json":
				validate(t, wholeJSON(t, s.text))
			case "sh", "text":
			default:
				t.Errorf("a block of the language %q is not checked; use caddyfile, json, sh or text", s.language)
			}
		})
	}
	if found["caddyfile"] < 10 || found["json"] < 2 {
		t.Errorf("found only these snippets: %v", found)
	}
}

func TestEveryRelativeLinkOfTheDocumentsResolves(t *testing.T) {
	links := 0
	for _, file := range append(proxytest.Documents(t, ".."), "../AGENTS.md", "../CONTRIBUTING.md", "../bench/README.md", "../SECURITY.md", "../CHANGELOG.md") {
		for _, link := range linkTarget.FindAllStringSubmatch(string(read(t, file)), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			links++
			path, heading, _ := strings.Cut(link[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", file, link[1], err)
				continue
			}
			if heading != "" && !slices.Contains(headings(t, target), heading) {
				t.Errorf("%s links to %s, but %s has no such heading", file, link[1], target)
			}
		}
	}
	if links < 30 {
		t.Errorf("found only %d links", links)
	}
}

var (
	linkTarget  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingLine = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// headings returns the anchors of a document's headings, as GitHub makes them.
func headings(t *testing.T, file string) []string {
	t.Helper()
	var all []string
	for _, heading := range headingLine.FindAllStringSubmatch(string(read(t, file)), -1) {
		anchor := notInAnchor.ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(anchor, " ", "-"))
	}
	return all
}

// snippets returns the fenced blocks of the documents.
func snippets(t *testing.T) []snippet {
	var all []snippet
	for _, file := range proxytest.Documents(t, "..") {
		var open *snippet
		for i, line := range strings.SplitAfter(string(read(t, file)), "\n") {
			language, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
			switch {
			case isFence && open == nil:
				open = &snippet{file: filepath.Base(file), line: i + 1, language: language}
			case isFence:
				all, open = append(all, *open), nil
			case open != nil:
				open.text += line
			}
		}
		if open != nil {
			t.Errorf("%v: the block is not closed", open)
		}
	}
	return all
}

// startsWithSite matches a Caddyfile that begins with global options or with the address of
// a site, which unlike a directive has a '.', ':' or '/' in it.
var startsWithSite = regexp.MustCompile(`^(#.*\n|\s)*(\{|\S*[.:/])`)

// wholeCaddyfile puts directives into a site.
func wholeCaddyfile(text string) string {
	if startsWithSite.MatchString(text) {
		return text
	}
	return ":0 {\n" + text + "}\n"
}

// wholeJSON puts a handler into a config.
func wholeJSON(t *testing.T, text string) []byte {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	if _, isHandler := fields["handler"]; !isHandler {
		return []byte(text)
	}
	return fmt.Appendf(nil, `{"apps": {"http": {"servers": {"one": {"listen": [":0"], "routes": [{"handle": [%s]}]}}}}}`, text)
}

// trustedCertificates returns a folder, with a slash at its end, for the certificates that
// the documents expect in /etc/caddy.
func trustedCertificates(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	certificate := proxytest.EncodeCertificate(proxytest.SelfSigned(t, "nas.home.arpa").Leaf.Raw)
	if err := os.WriteFile(filepath.Join(folder, "nas.pem"), certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder + "/"
}
