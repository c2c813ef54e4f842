package proxyos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// logLine is a line of Caddy's log: one that a document shows, or one that was logged.
type logLine struct {
	source                 string
	level, logger, message string
	fields                 map[string]any
}

func (l logLine) String() string {
	return fmt.Sprintf("%s\t%s\t%s\t%v", l.level, l.logger, l.message, l.fields)
}

// shows tells whether a document's line is a logged one, perhaps with some fields left out.
func (l logLine) shows(logged logLine) bool {
	if l.level != logged.level || l.logger != logged.logger || l.message != logged.message {
		return false
	}
	for name, value := range l.fields {
		if logged.fields[name] != value {
			return false
		}
	}
	return true
}

func TestEveryLogLineOfTheDocumentsIsLogged(t *testing.T) {
	samples := documentedLogLines(t)
	if len(samples) < 30 {
		t.Fatalf("found only %d log lines in the documents", len(samples))
	}
	site := newBrokenSite(t)
	caddy := runCaddy(t, site.directives)
	var missing []logLine
	// An alert that ends a connection may get lost. Then another error is logged. After a
	// reload, every hint is logged again.
	for round := range 20 {
		if round > 0 {
			caddy.reload(fmt.Sprintf("header X-Round %d\n%s", round, site.directives))
		}
		site.visit(t, caddy)
		logged := loggedLines(caddy.Logs)
		missing = slices.DeleteFunc(slices.Clone(samples), func(sample logLine) bool {
			return slices.ContainsFunc(logged, sample.shows)
		})
		if len(missing) == 0 {
			return
		}
	}
	for _, sample := range missing {
		t.Errorf("%s: nothing logs\n\t%v", sample.source, sample)
	}
	t.Log(caddy.Logs)
}

// brokenSite is a site with a route for each upstream that does not answer as it should.
type brokenSite struct {
	directives string
	paths      []string
	replace    func() // replaces the certificate of the upstream behind the last path
}

// deadProxy is the proxy in the environment of these tests. net/http reads it only once.
const deadProxy = "http://127.0.0.38:9"

func init() {
	os.Setenv("HTTPS_PROXY", deadProxy)
	os.Setenv("NO_PROXY", "")
}

// newBrokenSite starts the upstreams of labCases, and the others in the documents.
func newBrokenSite(t *testing.T) *brokenSite {
	site := new(brokenSite)
	for _, c := range labCases(t) {
		site.route("proxyos " + c.start(t) + " {\n" + c.options + "\n}")
	}
	site.route("proxyos " + proxytest.Refused(t) + " {\nstaging " + proxytest.Refused(t) + "\nstaging_when expression `int({header.X-Level}) > 1`\n}")
	site.route("proxyos https://app.invalid")
	site.route("proxyos app.invalid:3000 {\ntransport http {\nresolvers " + proxytest.NewNameServer(t).Addr + "\n}\n}")

	listener := proxytest.ListenPort(t, 8006)
	address := listener.Addr().String()
	proxytest.Serve(t, listener, proxytest.Serving(proxytest.SelfSigned(t, address)))
	site.route("proxyos {\nupstream " + address + " {\ntls_pin " + strings.Repeat("00", 32) + "\n}\n}")

	many := labManyCertificates(t, 20)
	site.route("proxyos " + many + " {\ntransport http {\nkeepalive off\n}\n}")
	for range 17 {
		site.paths = append(site.paths, site.paths[len(site.paths)-1])
	}

	listener = proxytest.ListenPort(t, 8006)
	address = listener.Addr().String()
	watched := newSwappableServer(t, proxytest.SelfSigned(t, address), listener)
	site.replace = func() { watched.swap(t, proxytest.SelfSigned(t, address)) }
	site.route("proxyos " + address)
	return site
}

func (s *brokenSite) route(directive string) {
	path := fmt.Sprintf("/%d", len(s.paths))
	s.paths = append(s.paths, path)
	s.directives += "handle " + path + " {\n" + directive + "\n}\n"
}

// visit requests every path once, then the last one again with another certificate behind it.
func (s *brokenSite) visit(t *testing.T, caddy labCaddy) {
	t.Helper()
	for _, path := range s.paths {
		caddy.Get(path)
	}
	s.replace()
	// a request may still be sent on a connection to the old server, and fail
	proxytest.Eventually(t, "the new server answers", func() bool {
		status, _ := caddy.Get(s.paths[len(s.paths)-1])
		return status == http.StatusOK
	})
}

// consoleLine matches what Caddy writes to a console, without the time and with spaces for
// tabs.
var consoleLine = regexp.MustCompile(`^(DEBUG|INFO|WARN|ERROR) +(\S+)  (.*?)(?:  (\{.*\}))?$`)

// documentedLogLines returns the log lines in the blocks of the README and the documents.
func documentedLogLines(t *testing.T) []logLine {
	t.Helper()
	var all []logLine
	for _, file := range proxytest.Documents(t, ".") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			match := consoleLine.FindStringSubmatch(line)
			if match == nil {
				continue
			}
			sample := logLine{
				source: fmt.Sprintf("%s:%d", file, i+1),
				level:  strings.ToLower(match[1]), logger: match[2], message: withoutParticulars(match[3]),
			}
			if match[4] != "" {
				if err := json.Unmarshal([]byte(match[4]), &sample.fields); err != nil {
					t.Errorf("%s: %v", sample.source, err)
				}
				sample.fields = fieldsWithoutParticulars(sample.fields)
			}
			all = append(all, sample)
		}
	}
	return all
}

// loggedLines returns what has been logged.
func loggedLines(log *proxytest.Logbook) []logLine {
	var all []logLine
	for _, entry := range log.Entries("") {
		logger, _ := entry["logger"].(string)
		message, _ := entry["msg"].(string)
		all = append(all, logLine{
			level: entry["level"].(string), logger: logger, message: withoutParticulars(message),
			fields: fieldsWithoutParticulars(entry),
		})
	}
	return all
}

// particulars is what differs from one run to the next.
var particulars = regexp.MustCompile(`(?:/[^\s"]+)+\.sock|(?:localhost|\})(?::\d+)|\b(?:\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?|\d{4}-\d\d-\d\d(?:T[\d:]+Z)?|[0-9a-f]{64})\b`)

func withoutParticulars(text string) string { return particulars.ReplaceAllString(text, "…") }

// fieldsWithoutParticulars returns the fields as texts.
func fieldsWithoutParticulars(fields map[string]any) map[string]any {
	texts := make(map[string]any, len(fields))
	for name, value := range fields {
		texts[name] = withoutParticulars(fmt.Sprint(value))
	}
	if _, ok := texts["route"]; ok {
		texts["route"] = "…" // the site and the path in this test
	}
	return texts
}
