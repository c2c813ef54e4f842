package same

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func init() { caddy.RegisterModule(sameLogs{}) }

// sameLogs is the Caddy log writer "same". It sorts the lines by the way that they are about.
type sameLogs struct{}

// CaddyModule returns the Caddy module information.
func (sameLogs) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.same", New: func() caddy.Module { return new(sameLogs) }}
}

func (sameLogs) String() string                      { return "same" }
func (sameLogs) WriterKey() string                   { return "same" }
func (sameLogs) OpenWriter() (io.WriteCloser, error) { return sameLogs{}, nil }
func (sameLogs) Close() error                        { return nil }
func (sameLogs) Write(line []byte) (written int, err error) {
	text := string(line)
	sameReaders.Range(func(_, reader any) bool {
		log := reader.(*sameLog)
		if log.isAbout(text) {
			log.add(text)
			return false
		}
		return true
	})
	return len(line), nil
}

// sameReaders are the logs of all ways.
var sameReaders sync.Map // of *sameLog, by itself

// sameLog is what was logged about one way.
type sameLog struct {
	marks []string // what is in each of its lines

	mu      sync.Mutex
	entries []proxytest.LogEntry
}

func (l *sameLog) isAbout(line string) bool {
	for _, mark := range l.marks {
		if strings.Contains(line, mark) {
			return true
		}
	}
	return false
}

func (l *sameLog) add(line string) {
	var entry proxytest.LogEntry
	if json.Unmarshal([]byte(line), &entry) != nil {
		entry = proxytest.LogEntry{"unreadable": line}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry)
}

// forget empties the log.
func (l *sameLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}

// await returns the lines of a logger, once there is one or the time is over.
func (l *sameLog) await(logger string, patience time.Duration) []proxytest.LogEntry {
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Microsecond) {
		if found := l.of(logger); len(found) > 0 || time.Now().After(deadline) {
			return found
		}
	}
}

// of returns the lines of the loggers that begin so.
func (l *sameLog) of(logger string) (found []proxytest.LogEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, entry := range l.entries {
		if name, _ := entry["logger"].(string); strings.HasPrefix(name, logger) {
			found = append(found, entry)
		}
	}
	return found
}

// rareSection has what is logged once a minute at most.
const rareSection = "handler's log, once a minute"

// rareMessages are those of it.
var rareMessages = []string{"an upstream does not answer as it should", "no upstream could take a request", "a request was not sent, since its upstream contradicts another one"}

// told returns the lines of the handler, but for those about whole groups: a watcher of its
// own logs them now and then.
func (l *sameLog) told() (told, rare []proxytest.LogEntry) {
	for _, entry := range l.of("http.handlers") {
		switch message, _ := entry["msg"].(string); {
		case strings.Contains(message, "of the group is available"):
		case slices.Contains(rareMessages, message):
			rare = append(rare, entry)
		default:
			told = append(told, entry)
		}
	}
	return told, rare
}

// Interface guards
var _ caddy.WriterOpener = sameLogs{}
