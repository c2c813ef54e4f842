package proxyos

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

func TestTheReadmesAddressTableIsTrue(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	route := routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts)}
	speaks := map[string]string{"HTTP": address.HTTP, "HTTPS": address.HTTPS, "HTTP/2 cleartext": address.H2C}
	verified := map[string]bool{"checked": true, "not checked": false, "": false}

	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| `([^`]+)` \\|([^|]*)\\|$").FindAllStringSubmatch(string(readme), -1)
	if len(rows) < 14 {
		t.Fatalf("found only %d rows", len(rows))
	}
	for _, row := range rows {
		t.Run(row[1], func(t *testing.T) {
			a, err := address.Parse(row[1])
			if err != nil {
				t.Fatal(err)
			}
			m := infer(a, Upstream{}, nil, route)
			if want, known := speaks[row[2]]; !known || m.scheme != want {
				t.Errorf("it speaks %s, not %s", m.scheme, row[2])
			}
			if got := a.Dial(); got != row[3] {
				t.Errorf("it dials %s, not %s", got, row[3])
			}
			certificate := strings.TrimSpace(row[4])
			if want, known := verified[certificate]; !known || m.verify != want || (certificate == "") == (m.scheme == address.HTTPS) {
				t.Errorf("the certificate is said to be %q; verified: %v", certificate, m.verify)
			}
		})
	}
	if ports := strings.Trim(fmt.Sprint(defaultHTTPSPorts), "[]"); !strings.Contains(string(readme), strings.ReplaceAll(ports, " ", ", ")) {
		t.Errorf("the README does not have the ports %s", ports)
	}
}

func TestTheFileMapHasEveryFile(t *testing.T) {
	guide, err := os.ReadFile("AGENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	var mapped []string
	for _, pattern := range regexp.MustCompile("`([a-z_*]+\\.go)`").FindAllStringSubmatch(string(guide), -1) {
		files, err := filepath.Glob(pattern[1])
		if err != nil || len(files) == 0 {
			t.Errorf("AGENTS.md names %s, but there is no such file", pattern[1])
		}
		mapped = append(mapped, files...)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") && !slices.Contains(mapped, file) {
			t.Errorf("the file map in AGENTS.md has no row for %s", file)
		}
	}
	packages, err := filepath.Glob("internal/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range packages {
		if row := "| `" + filepath.ToSlash(dir) + "/` |"; !strings.Contains(string(guide), row) {
			t.Errorf("the file map in AGENTS.md has no row for %s", dir)
		}
	}
}
