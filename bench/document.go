package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// page is a document of results. A measurement writes all of it. docs/performance.md says what
// its figures show.
type page struct{ name, title string }

var (
	requestsPage = page{"requests", "Requests"}
	idlePage     = page{"idle", "Idle connections"}
	spreadPage   = page{"spread", "Evenness of a split"}
	routesPage   = page{"routes", "Large configurations"}
	soakPage     = page{"soak", "Soak"}
	latencyPage  = page{"latency", "Latency"}
)

// pageOf returns the page of that name for what is otherwise on requestsPage.
func pageOf(name string) page {
	if name == requestsPage.name {
		return requestsPage
	}
	return page{name, capitalized(strings.ReplaceAll(name, "-", " "))}
}

// write writes the page into a folder, or its text to standard output if the folder is "-".
func (p page) write(folder, text string) error {
	if folder == "-" {
		fmt.Println(text)
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	progress("writing %s", p.file(folder))
	return os.WriteFile(p.file(folder), []byte(p.markdown(text)), 0o644)
}

func (p page) file(folder string) string { return filepath.Join(folder, p.name+".md") }

// markdown returns the page with a text.
func (p page) markdown(text string) string {
	return fmt.Sprintf("# %s\n\n`go run ./bench` wrote this page. What it shows is in [performance](../performance.md).\n\n%s\n",
		p.title, strings.TrimSpace(text))
}
