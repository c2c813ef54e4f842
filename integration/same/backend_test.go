package same

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// sameBackend is an upstream of one way, which records what it gets.
type sameBackend struct {
	addr string // host:port, or the path of a socket
	kind string // plain, unix, tls, h2, or dead: nobody listens

	mu     sync.Mutex
	answer *sameAnswer
	got    []*bytes.Buffer // each request, as it is compared
	active int
}

// newSameBackend starts an upstream.
func newSameBackend(t testing.TB, kind string, certificate tls.Certificate) *sameBackend {
	t.Helper()
	b := &sameBackend{kind: kind}
	if kind == "dead" {
		b.addr = freeAddr(t)
		return b
	}
	listener := proxytest.Listen(t, "")
	if kind == "unix" {
		listener = listenUnixEvenly(t)
	}
	b.addr = listener.Addr().String()
	config := proxytest.Serving(certificate)
	switch kind {
	case "h2":
		config.NextProtos = []string{"h2"}
		proxytest.StartServer(t, listener, &http.Server{TLSConfig: config, Handler: http.HandlerFunc(b.serveHTTP)})
		return b
	case "tls":
		listener = tls.NewListener(listener, config)
	}
	proxytest.ServeRaw(t, listener, b.serve)
	return b
}

// listenUnixEvenly listens on a unix socket whose path is always of the same length, since it
// is in answers to errors.
func listenUnixEvenly(t testing.TB) net.Listener {
	t.Helper()
	path := proxytest.SocketPath(t)
	path += strings.Repeat("x", max(0, 60-len(path)))
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// follow has the backend give an answer from now on, and forget what it got.
func (b *sameBackend) follow(a *sameAnswer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer, b.got = a, nil
}

// received returns what the backend got, once it deals with no request any more.
func (b *sameBackend) received() []string {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(200 * time.Microsecond) {
		b.mu.Lock()
		if b.active == 0 || time.Now().After(deadline) {
			var all []string
			for _, one := range b.got {
				all = append(all, one.String())
			}
			if b.active != 0 {
				all = append(all, "and is not done with it")
			}
			b.mu.Unlock()
			return all
		}
		b.mu.Unlock()
	}
}

// begin records the beginning of a request, and returns the answer for it.
func (b *sameBackend) begin(head string) (*sameAnswer, *bytes.Buffer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	record := bytes.NewBufferString(head)
	b.got = append(b.got, record)
	b.active++
	return b.answer, record
}

// end records the end of a request.
func (b *sameBackend) end(record *bytes.Buffer, body fmt.Stringer, trailer http.Header) {
	b.mu.Lock()
	defer b.mu.Unlock()
	record.WriteString("body " + digest(body.String()) + "\n")
	if len(trailer) > 0 {
		record.WriteString("trailer\n" + sortedFields(linesOf(trailer)))
	}
	b.active--
}

// serve serves a connection in HTTP/1.
func (b *sameBackend) serve(conn net.Conn) {
	reader := bufio.NewReaderSize(conn, 1<<17)
	for {
		head, err := peekHead(reader)
		if err != nil {
			return
		}
		req, err := http.ReadRequest(reader)
		if err != nil {
			b.mu.Lock()
			b.got = append(b.got, bytes.NewBufferString("what is no request: "+err.Error()+"\n"+head))
			b.mu.Unlock()
			return
		}
		line, fields, _ := strings.Cut(head, "\r\n")
		answer, record := b.begin(line + "\n" + sortedFields(strings.Split(strings.TrimSpace(fields), "\r\n")))
		var body bytes.Buffer
		goesOn := answer.send(conn, req, io.TeeReader(req.Body, &body))
		b.end(record, &body, req.Trailer)
		if !goesOn || req.Close {
			return
		}
	}
}

// serveHTTP serves a request over HTTP/2.
func (b *sameBackend) serveHTTP(w http.ResponseWriter, r *http.Request) {
	head := fmt.Sprintf("%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
	answer, record := b.begin(head + sortedFields(linesOf(r.Header)))
	var body bytes.Buffer
	r.Body = io.NopCloser(io.TeeReader(r.Body, &body))
	defer func() { b.end(record, &body, r.Trailer) }()
	answer.serveHTTP(w, r)
}

// peekHead returns the next head, with the empty line, and leaves it in the reader.
func peekHead(reader *bufio.Reader) (string, error) {
	for {
		text, _ := reader.Peek(reader.Buffered())
		if end := bytes.Index(text, []byte("\r\n\r\n")); end >= 0 {
			return string(text[:end+4]), nil
		}
		if _, err := reader.Peek(len(text) + 1); err != nil {
			return string(text), err
		}
	}
}

// sortedFields returns lines of header fields by name, those of a name in their order.
func sortedFields(lines []string) string {
	sort.SliceStable(lines, func(i, j int) bool {
		a, _, _ := strings.Cut(lines[i], ":")
		b, _, _ := strings.Cut(lines[j], ":")
		return a < b
	})
	return strings.Join(lines, "\n") + "\n"
}

// linesOf returns a header as lines.
func linesOf(header http.Header) []string {
	var lines []string
	for name, values := range header {
		for _, value := range values {
			lines = append(lines, name+": "+value)
		}
	}
	return lines
}
