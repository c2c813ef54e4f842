// Package cluster runs a cluster on Caddy's file storage. It is a package of its own so that it
// runs beside the other tests: most of the time it waits.
package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/proxyos/caddy-proxyos/internal/clustertest"
)

var binary string // a Caddy with this module

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddy")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "caddy")
	if output, err := exec.Command("go", "build", "-o", binary, "../../cmd/caddy").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building caddy: %v\n%s", err, output)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// folder is Caddy's file storage.
type folder string

func (f folder) document() string { return filepath.Join(string(f), "proxyos", "overrides.json") }

func (f folder) Config() map[string]any {
	return map[string]any{"module": "file_system", "root": string(f)}
}

func (f folder) Read() []byte {
	raw, _ := os.ReadFile(f.document()) // nil if there is none
	return raw
}

func (f folder) Write(t testing.TB, raw []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(f.document()), 0o700); err != nil {
		t.Fatal(err)
	}
	beside := f.document() + ".new" // nobody may read half of it
	if err := os.WriteFile(beside, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, f.document()); err != nil {
		t.Fatal(err)
	}
}

func (f folder) Lose(t testing.TB) {
	t.Helper()
	err := errors.New("not tried yet")
	for attempt := 0; err != nil && attempt < 10; attempt++ {
		err = os.RemoveAll(filepath.Join(string(f), "proxyos")) // fails where an instance writes there meanwhile
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAClusterAgreesOnFiles(t *testing.T) {
	clustertest.Suite(t, binary, func(t testing.TB) clustertest.Storage { return folder(t.TempDir()) })
}
