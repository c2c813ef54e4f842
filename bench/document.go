package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// writeSection puts text into a document between the markers of a section, so that what
// stands around them stays. A section that is not there yet is added at the end.
func writeSection(path, section, text string) error {
	if path == "-" {
		fmt.Println(text)
		return nil
	}
	document, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		document, err = []byte("# Performance\n"), os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		return err
	}
	progress("writing the section %q of %s", section, path)
	return os.WriteFile(path, []byte(replaceSection(string(document), section, text)), 0o644)
}

func replaceSection(document, section, text string) string {
	begin, end := fmt.Sprintf("<!-- bench %s: begin -->", section), fmt.Sprintf("<!-- bench %s: end -->", section)
	middle := begin + "\n" + strings.TrimSpace(text) + "\n" + end
	before, rest, found := strings.Cut(document, begin)
	if !found {
		return strings.TrimRight(document, "\n") + "\n\n" + middle + "\n"
	}
	_, after, found := strings.Cut(rest, end)
	if !found {
		return document + "\n" + end + "\n\n" + middle + "\n"
	}
	return before + middle + after
}
