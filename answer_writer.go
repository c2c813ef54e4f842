package proxyos

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// answerWriter remembers the status of an answer, and adds the cookie of a sticky client to
// it.
type answerWriter struct {
	caddyhttp.ResponseWriterWrapper
	cookie    string // to set; empty if none is
	status    int
	reckoning reckoning
	body      *clientBody // of the request; nil if it has none
	cacheable bool        // the answer may be kept by shared caches with the cookie in it
	withheld  bool        // the reverse proxy's word that the client has left is not passed on
}

// WriteHeader implements http.ResponseWriter. Informational statuses are not the answer's,
// but for 101, which ends the exchange of headers. They come from the goroutine that reads
// from the upstream, at any time until the transport returns, so they touch no field.
func (a *answerWriter) WriteHeader(status int) {
	if status == statusClientGone && a.withheld {
		return
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if a.status == 0 {
			a.status = status
			a.reckoning.answer(status, a.Header())
		}
		a.setCookie()
		if a.body != nil {
			a.body.answered.Store(true)
		}
		a.ResponseWriter.WriteHeader(status)
		return
	}
	inform(a.ResponseWriter, status)
}

// inform writes an informational answer whose header may be changed at once. The HTTP/2 server
// writes such a header on a goroutine of its own, for which WriteHeader does not wait if the
// client leaves: who changes the map then ends the whole process ("concurrent map iteration and
// map write"). The server copies a header that has a field which these answers must not have. One
// without values is a field for no server.
// Source: responseWriterState.writeHeader of golang.org/x/net/http2.
func inform(w http.ResponseWriter, status int) {
	header := w.Header()
	for _, field := range []string{"Content-Length", "Transfer-Encoding"} { // whoever is around may delete one of them
		if _, isThere := header[field]; !isThere {
			header[field] = nil
			defer delete(header, field)
		}
	}
	w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answerWriter) Write(p []byte) (int, error) {
	a.begin()
	n, err := a.ResponseWriter.Write(p)
	a.reckoning.isLost = a.reckoning.isLost || err != nil
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (a *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	a.begin()
	return a.ResponseWriterWrapper.ReadFrom(r)
}

// begin begins the answer with the status that is implied.
func (a *answerWriter) begin() {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
		return
	}
	a.setCookie() // where others answer, after the route's own answer has been decided upon
}

func (a *answerWriter) setCookie() {
	if a.cookie != "" {
		a.Header().Add("Set-Cookie", a.cookie)
		if !a.cacheable {
			keepPrivate(a.Header())
		}
		a.cookie = ""
	}
}

// keepPrivate keeps an answer out of shared caches, which would hand the cookie of one client to
// all others.
func keepPrivate(header http.Header) {
	written := strings.Join(header["Cache-Control"], ", ")
	for directive := range strings.SplitSeq(written, ",") {
		switch strings.ToLower(strings.TrimSpace(directive)) {
		case "private", "no-store":
			return
		}
	}
	if written != "" {
		written += ", "
	}
	header.Set("Cache-Control", written+"private")
}
