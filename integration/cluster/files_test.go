// Package cluster runs a cluster on Caddy's file storage. It is a package of its own so that it
// runs beside the other tests: most of the time it waits.
package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/clustertest"
)

func TestMain(m *testing.M) { lab.Main(m) }

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
	lab.Replace(t, f.document(), raw)
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
	clustertest.Suite(t, lab.CaddyCommand(t), func(t testing.TB) clustertest.Storage { return folder(t.TempDir()) })
}
