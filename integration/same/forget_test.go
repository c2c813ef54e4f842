package same

import (
	"regexp"
	"slices"
	"strings"
)

// What is in this file is left to chance in reverse_proxy itself: it depends on which of two
// things is first. It is not compared.

var sizes = regexp.MustCompile(`^body \d+.*|"size":\d+`)

// forgetSizes forgets how much of the body the client got: a reset overtakes what was sent
// before it, as far as nobody has read that.
func (s *sameSeen) forgetSizes() {
	for _, name := range []string{"client", "access log"} {
		for i, line := range s.sections[name] {
			s.sections[name][i] = sizes.ReplaceAllString(line, "as far as it came")
		}
	}
}

var bodies = regexp.MustCompile(`(?ms)^body [^\n]*|^trailer\n.*|"bytes_read":\d+`)

// forgetBodies forgets how much of the request's body came before an answer or an end that did
// not wait for it.
func (s *sameSeen) forgetBodies() {
	for name, lines := range s.sections {
		if name == "access log" || strings.HasPrefix(name, "upstream") {
			for i, line := range lines {
				lines[i] = bodies.ReplaceAllString(line, "as far as it came")
			}
		}
	}
}

var (
	endings = regexp.MustCompile(`"(error|hint)":"(\\.|[^"\\])*"`)
	faults  = regexp.MustCompile(`"(error)":"(\\.|[^"\\])*"`)
)

// forgetEndings forgets how a connection was found to have ended: while writing or while
// reading.
func (s *sameSeen) forgetEndings(section string, what *regexp.Regexp) {
	for i, line := range s.sections[section] {
		s.sections[section][i] = what.ReplaceAllString(line, "$1")
	}
}

// forgetAttempts forgets how often a request that may be repeated was sent in vain: once more
// over a connection that had been used before, if there was one.
func (s *sameSeen) forgetAttempts() {
	for name, lines := range s.sections {
		if strings.HasPrefix(name, "upstream") {
			slices.Sort(lines)
			s.sections[name] = slices.Compact(lines)
		}
	}
}

// forgetRepeats forgets that a client was told to continue several times: by the server once
// the body is read, and by the upstream.
func (s *sameSeen) forgetRepeats() {
	s.sections["client"] = slices.CompactFunc(s.sections["client"], func(a, b string) bool {
		return a == b && strings.Contains(a, " 100 Continue")
	})
}

var framing = regexp.MustCompile(`^Content-Length: 0$|^Transfer-Encoding: chunked$|^Connection: (keep-alive|close)$|"Content-Length":\["0"\],?|, announced (0|-1)$`)

// forgetFraming forgets how an empty body was announced: as empty, if it was seen to end before
// the header was sent. A client of HTTP/1.0 may keep its connection then.
func (s *sameSeen) forgetFraming() {
	if !slices.ContainsFunc(s.sections["client"], func(line string) bool { return strings.HasPrefix(line, "body 0 ") }) {
		return
	}
	for _, name := range []string{"client", "access log"} {
		s.drop(name, framing)
	}
}

// isBrokenOff tells whether the client got no whole answer.
func (s *sameSeen) isBrokenOff() bool {
	lines := s.sections["client"]
	return len(lines) > 0 && lines[len(lines)-1] != "ended cleanly"
}

var guess = regexp.MustCompile(`"?Content-Type"?:\s*(\["text/plain; charset=utf-8"\],?|text/plain; charset=utf-8$)`)

// forgetGuess forgets the type that net/http guesses from the beginning of a body, which it
// does only if there was time to send any before the answer was broken off.
func (s *sameSeen) forgetGuess() {
	for _, name := range []string{"client", "access log"} {
		s.drop(name, guess)
	}
}

// drop drops what matches from the lines of a section, and lines of which nothing remains.
func (s *sameSeen) drop(section string, what *regexp.Regexp) {
	var kept []string
	for _, line := range s.sections[section] {
		line = what.ReplaceAllString(line, "")
		if strings.HasPrefix(line, `"resp_headers":{`) && line != `"resp_headers":{` { // the first field is on its line
			kept, line = append(kept, `"resp_headers":{`), strings.TrimPrefix(line, `"resp_headers":{`)
		}
		if line != "" {
			kept = append(kept, line)
		}
	}
	s.sections[section] = kept
}

var upstreamNumber = regexp.MustCompile(`UPSTREAM\d|\.upstreams\.\d`)

// forgetOrder forgets which upstream it was.
func (s *sameSeen) forgetOrder() {
	merged := make(map[string][]string)
	for name, lines := range s.sections {
		if strings.HasPrefix(name, "upstream") {
			name = "upstream"
		}
		for _, line := range lines {
			if strings.HasPrefix(line, ".groups.0.upstreams") {
				continue
			}
			merged[name] = append(merged[name], upstreamNumber.ReplaceAllString(line, "UPSTREAM"))
		}
	}
	s.sections = merged
	s.forgetAttempts()
}
