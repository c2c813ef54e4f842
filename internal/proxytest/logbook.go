package proxytest

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
)

// Logbook holds what a Caddy has logged.
type Logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// LogEntry is one line of the log.
type LogEntry map[string]any

// Write adds to the logbook.
func (l *Logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns everything logged so far.
func (l *Logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Forget empties the logbook.
func (l *Logbook) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// Entries returns the log entries whose message contains part.
func (l *Logbook) Entries(part string) []LogEntry {
	return l.filter(func(entry LogEntry) bool {
		message, _ := entry["msg"].(string)
		return strings.Contains(message, part)
	})
}

// EntriesWith returns the log entries that have a field.
func (l *Logbook) EntriesWith(field string) []LogEntry {
	return l.filter(func(entry LogEntry) bool { return entry[field] != nil })
}

func (l *Logbook) filter(wanted func(LogEntry) bool) []LogEntry {
	var found []LogEntry
	for line := range strings.Lines(l.String()) {
		var entry LogEntry
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue // not JSON: what a process prints before its log is set up
		}
		if wanted(entry) {
			found = append(found, entry)
		}
	}
	return found
}
