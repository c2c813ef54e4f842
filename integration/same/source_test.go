package same

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sourceList has the declarations of reverse_proxy as they were when express.go was last
// compared with them: file, name and a hash of the source without comments.
const sourceList = "testdata/reverse_proxy_functions.txt"

const updateSourceList = "PROXYOS_LOOKED_THROUGH=1 go test -run TestReverseProxyIsAsItWasLookedThrough ./integration/same"

// The short way does by itself what reverse_proxy does, step by step. So a new version of Caddy
// must be looked through before it is used.
func TestReverseProxyIsAsItWasLookedThrough(t *testing.T) {
	version, dir := caddyModule(t)
	now := append([]string{"caddy " + version}, declarations(t, filepath.Join(dir, "modules", "caddyhttp", "reverseproxy"))...)
	if os.Getenv("PROXYOS_LOOKED_THROUGH") != "" {
		if err := os.WriteFile(sourceList, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(sourceList)
	if err != nil {
		t.Fatalf("%v; write it with: %s", err, updateSourceList)
	}
	known := strings.Split(strings.TrimSpace(string(text)), "\n")
	if changed := changedDeclarations(known, now); len(changed) > 0 {
		t.Errorf("reverse_proxy is not as it was when it was last looked through (%s, now %s):\n\t%s\n"+
			"look through each of these, beside the table in the comment of express.go; change express.go where it matters; then run: %s",
			known[0], now[0], strings.Join(changed, "\n\t"), updateSourceList)
	}
}

func TestChangedDeclarationsAreNamed(t *testing.T) {
	known := []string{"caddy v1", "a.go f 11", "a.go g 22", "b.go h 33"}
	got := changedDeclarations(known, []string{"caddy v2", "a.go f 11", "a.go g 23", "c.go i 44"})
	want := []string{"a.go g: changed", "c.go i: new", "b.go h: gone", "the version, nothing else that is listed here"}
	if !slices.Equal(got, want[:3]) {
		t.Errorf("got %q, want %q", got, want[:3])
	}
	if got := changedDeclarations(known, append([]string{"caddy v2"}, known[1:]...)); !slices.Equal(got, want[3:]) {
		t.Errorf("got %q, want %q", got, want[3:])
	}
}

// caddyModule returns the version of Caddy that this module is built with, and its folder.
func caddyModule(t *testing.T) (version, dir string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		t.Fatalf("finding Caddy's source: %v", err)
	}
	version, dir, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	return version, dir
}

// declarations lists the functions, types, variables and constants of a package.
func declarations(t *testing.T, dir string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution) // without comments
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			for name, node := range named(declaration) {
				var source bytes.Buffer
				if err := printer.Fprint(&source, token.NewFileSet(), node); err != nil {
					t.Fatal(err)
				}
				lines = append(lines, fmt.Sprintf("%s %s %.8x", filepath.Base(file), name, sha256.Sum256(source.Bytes())))
			}
		}
	}
	slices.Sort(lines)
	if len(lines) < 100 {
		t.Fatalf("only %d declarations in %s; has reverse_proxy moved?", len(lines), dir)
	}
	return lines
}

// named returns what a declaration declares, by name.
func named(declaration ast.Decl) map[string]ast.Node {
	all := make(map[string]ast.Node)
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			var receiver bytes.Buffer
			_ = printer.Fprint(&receiver, token.NewFileSet(), d.Recv.List[0].Type)
			name = receiver.String() + "." + name
		}
		all[name] = d
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				all[spec.Name.Name] = spec
			case *ast.ValueSpec:
				if name := spec.Names[0].Name; name != "_" { // interface guards
					all[name] = spec
				}
			}
		}
	}
	return all
}

// changedDeclarations names the differences between two lists, each with a version first.
func changedDeclarations(known, now []string) (changed []string) {
	hashes := func(lines []string) map[string]string {
		all := make(map[string]string)
		for _, line := range lines[1:] {
			space := strings.LastIndexByte(line, ' ')
			all[line[:space]] += line[space:] // several may be called init
		}
		return all
	}
	old, current := hashes(known), hashes(now)
	for _, name := range namesInOrder(current) {
		switch hash, ok := old[name]; {
		case !ok:
			changed = append(changed, name+": new")
		case hash != current[name]:
			changed = append(changed, name+": changed")
		}
	}
	for _, name := range namesInOrder(old) {
		if _, ok := current[name]; !ok {
			changed = append(changed, name+": gone")
		}
	}
	if len(changed) == 0 && known[0] != now[0] {
		changed = append(changed, "the version, nothing else that is listed here")
	}
	return changed
}

func namesInOrder(all map[string]string) []string {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
