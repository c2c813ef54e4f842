package proxyos

import (
	"net/http"
	"net/textproto"
	"strings"
)

// headerFields makes a header whose values share one piece of memory.
type headerFields struct {
	header http.Header
	values []string
}

// addedFields is how many fields this proxy usually adds to a request.
const addedFields = 5

// newHeaderFields returns one with room for those of a header and some more.
func newHeaderFields(from http.Header, more int) *headerFields {
	return &headerFields{header: make(http.Header, len(from)+more), values: make([]string, 0, countValues(from)+more)}
}

func countValues(of http.Header) int {
	n := 0
	for _, values := range of {
		n += len(values)
	}
	return n
}

// copy adds a field with a copy of its values. A nil one stays nil.
func (f *headerFields) copy(name string, values []string) {
	if values == nil {
		f.header[name] = nil
		return
	}
	f.header[name] = f.room(values...)
}

func (f *headerFields) set(name, value string) { f.header[name] = f.room(value) }

// setDefault sets a field that a request does not have, unless its Connection names it.
func (f *headerFields) setDefault(name, value string, from http.Header) {
	if _, ok := from[name]; !ok && !isNamed(name, from) {
		f.set(name, value)
	}
}

func (f *headerFields) room(values ...string) []string {
	start := len(f.values)
	f.values = append(f.values, values...)
	return f.values[start:len(f.values):len(f.values)]
}

// isHopByHop tells whether a field is for the next hop only, whatever Connection says.
func isHopByHop(name string) bool {
	switch name {
	case "Alt-Svc", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// isNamed tells whether the Connection of a header says that a field is for the next hop
// only.
func isNamed(name string, in http.Header) bool {
	for _, line := range in["Connection"] {
		for field := range strings.SplitSeq(line, ",") {
			if field = textproto.TrimString(field); field != "" && http.CanonicalHeaderKey(field) == name {
				return true
			}
		}
	}
	return false
}
