package lab

import (
	"os"
	"path/filepath"
	"testing"
)

// Replace writes a file, and its folder, as it must be where somebody else reads it: nobody sees half of it.
func Replace(t testing.TB, file string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	beside := file + ".new"
	if err := os.WriteFile(beside, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, file); err != nil {
		t.Fatal(err)
	}
}
