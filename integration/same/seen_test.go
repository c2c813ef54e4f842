package same

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// sameSeen is all that can be seen of one request in one way, by section, with the names that
// the way has for itself and its upstreams replaced.
type sameSeen struct {
	way       *sameWay
	sections  map[string][]string
	forgotten bool // a documented difference makes all of it incomparable
}

func newSameSeen(w *sameWay) *sameSeen {
	return &sameSeen{way: w, sections: make(map[string][]string)}
}

// add adds lines to a section.
func (s *sameSeen) add(section string, lines ...string) {
	for _, line := range lines {
		s.sections[section] = append(s.sections[section], s.neutral(line))
	}
}

// addEntries adds lines of the log to a section.
func (s *sameSeen) addEntries(section string, entries []proxytest.LogEntry) {
	for _, entry := range entries {
		blank(entry)
		encoded, _ := json.Marshal(entry)
		text := strings.ReplaceAll(string(encoded), `","`, "\",\n\"") // so that a difference shows by line
		s.add(section, strings.Split(strings.ReplaceAll(text, `,"`, ",\n\""), "\n")...)
	}
}

// addWholeEntries adds lines of the log to a section, each as one line of it.
func (s *sameSeen) addWholeEntries(section string, entries []proxytest.LogEntry) {
	for _, entry := range entries {
		blank(entry)
		encoded, _ := json.Marshal(entry)
		s.add(section, string(encoded))
	}
}

// blank takes from a log entry what differs at every request.
func blank(entry map[string]any) {
	for name, value := range entry {
		switch {
		case name == "ts", name == "remote_port", name == "err_id", name == "tls":
			delete(entry, name)
		case strings.HasSuffix(name, "upstream.port"), strings.Contains(name, "duration"), strings.Contains(name, "latency"):
			entry[name] = "some"
			if text, ok := value.(string); ok && text == "" {
				entry[name] = "none"
			}
		default:
			if inner, ok := value.(map[string]any); ok {
				blank(inner)
			}
		}
	}
}

var (
	localPort   = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	httpDate    = regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`)
	errorID     = regexp.MustCompile(`\{id=[0-9a-z]+\}`)
	issuedValue = regexp.MustCompile(`\b(lb|group)=[^;"\\]+`) // cookies that are made from random numbers or addresses
)

// neutral replaces what differs between ways, or between requests, for no reason of interest.
func (s *sameSeen) neutral(line string) string {
	line = s.way.names.Replace(line)
	line = localPort.ReplaceAllString(line, "127.0.0.1:PORT")
	line = errorID.ReplaceAllString(line, "{id}")
	line = issuedValue.ReplaceAllString(line, "$1=ISSUED")
	return httpDate.ReplaceAllStringFunc(line, func(text string) string {
		if date, err := http.ParseTime(text); err == nil && time.Since(date).Abs() < 5*time.Minute {
			return "NOW"
		}
		return text
	})
}

// status is the status of the last head that the client got, or 0.
func (s *sameSeen) status() (status int) {
	for _, line := range s.sections["client"] {
		if proto, rest, ok := strings.Cut(line, " "); ok && strings.HasPrefix(proto, "HTTP/") {
			_, _ = fmt.Sscan(rest, &status)
		}
	}
	return status
}

// isFromServer tells whether an answer is of Caddy's HTTP server itself, before any handler or
// log knows of the request.
func (r *sameRequest) isFromServer(client []string) bool {
	text := strings.Join(client, "\n")
	return r.target == "*" || strings.HasPrefix(text, "instead of a head") || strings.HasPrefix(text, "no answer") ||
		strings.Contains(text, "Connection: close\nContent-Type: text/plain; charset=utf-8\nbody ")
}

// attempts is how often the upstreams got the request.
func (s *sameSeen) attempts() (n int) {
	for name, lines := range s.sections {
		if strings.HasPrefix(name, "upstream") {
			n += len(lines)
		}
	}
	return n
}
