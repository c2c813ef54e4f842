package proxytest

import (
	"io/fs"
	"path/filepath"
	"testing"
)

// Documents returns the README and everything in docs of the project that is in a folder.
func Documents(t testing.TB, project string) []string {
	t.Helper()
	files := []string{filepath.Join(project, "README.md")}
	err := filepath.WalkDir(filepath.Join(project, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
