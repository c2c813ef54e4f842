package proxytest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Scripted is an HTTP/1.1 server that follows a script and records exactly what it
// receives. Only the script reads a request's body, so that it can answer before the body
// has come, or without it.
type Scripted struct {
	*RawServer

	mu       sync.Mutex
	script   Script
	received []*bytes.Buffer // by connection
	requests []*record
}

// Script deals with one request. When it returns, the rest of the body is read, and then
// the next request on the connection, unless the script has ended that. The methods of an
// Exchange without arguments are scripts, too: (*Exchange).Reset does not even read the body.
type Script func(*Exchange)

// Exchange is a request, and the connection on which a script answers it.
type Exchange struct {
	*http.Request
	Conn net.Conn
	N    int // the number of the request on its connection, from 0

	ended bool
}

// Received is a request as the server got it.
type Received struct {
	Conn   int           // the number of its connection, from 0
	Header string        // every byte of it, with the empty line
	Parsed *http.Request // what Header says
	Body   string        // as far as it was read, and without its chunks
}

type record struct {
	Received
	body bytes.Buffer
}

// NewScripted starts a server that follows a script for each request.
func NewScripted(t testing.TB, script Script) *Scripted {
	t.Helper()
	return NewScriptedTLS(t, nil, script)
}

// NewScriptedTLS is NewScripted with TLS, unless config is nil.
func NewScriptedTLS(t testing.TB, config *tls.Config, script Script) *Scripted {
	t.Helper()
	listener := Listen(t, "")
	s := &Scripted{script: script}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	s.RawServer = ServeRaw(t, listener, s.serve)
	return s
}

// Follow replaces the script, for the requests that come from now on.
func (s *Scripted) Follow(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Bytes returns everything received so far on a connection, by its number from 0. It may
// be more than the requests that have been read.
func (s *Scripted) Bytes(conn int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received[conn].String()
}

// Requests returns the requests received so far, in the order in which their headers were
// complete.
func (s *Scripted) Requests() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Received, 0, len(s.requests))
	for _, r := range s.requests {
		r.Body = r.body.String()
		all = append(all, r.Received)
	}
	return all
}

// Count returns how many requests have been received so far.
func (s *Scripted) Count() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.requests))
}

func (s *Scripted) serve(conn net.Conn) {
	s.mu.Lock()
	number := len(s.received)
	s.received = append(s.received, new(bytes.Buffer))
	s.mu.Unlock()

	reader := bufio.NewReaderSize(recorder{conn, s, func() *bytes.Buffer { return s.received[number] }}, 1<<20)
	for n := 0; ; n++ {
		header, ok := peekHeader(reader)
		if !ok {
			return
		}
		req, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		r := &record{Received: Received{Conn: number, Header: header, Parsed: req}}
		s.mu.Lock()
		s.requests = append(s.requests, r)
		script := s.script
		s.mu.Unlock()

		x := &Exchange{Request: req.Clone(req.Context()), Conn: conn, N: n}
		x.Body = io.NopCloser(recorder{req.Body, s, func() *bytes.Buffer { return &r.body }})
		script(x)
		if x.ended || x.ReadBody() != nil || req.Close {
			return
		}
	}
}

// peekHeader returns the bytes of a header without taking them from the reader.
func peekHeader(reader *bufio.Reader) (header string, ok bool) {
	for {
		text, _ := reader.Peek(reader.Buffered())
		if end := bytes.Index(text, []byte("\r\n\r\n")); end >= 0 {
			return string(text[:end+4]), true
		}
		if _, err := reader.Peek(len(text) + 1); err != nil {
			return "", false
		}
	}
}

// recorder records what is read from another reader.
type recorder struct {
	io.Reader
	server *Scripted
	record func() *bytes.Buffer // to be called with the server's lock
}

func (r recorder) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.record().Write(p[:n])
	return n, err
}

// ReadBody reads the rest of the request's body.
func (x *Exchange) ReadBody() error {
	_, err := io.Copy(io.Discard, x.Body)
	return err
}

// Send sends bytes as they are. That the client may be gone is no error of the script.
func (x *Exchange) Send(text string) { _, _ = io.WriteString(x.Conn, text) }

// Close closes the connection. What the client has sent and nobody has read makes the
// system reset it, too.
func (x *Exchange) Close() {
	x.ended = true
	_ = x.Conn.Close()
}

// CloseWrite ends the server's side of the connection, and waits until the client has ended
// its own, whatever it sends until then.
func (x *Exchange) CloseWrite() {
	if conn, ok := x.Conn.(interface{ CloseWrite() error }); ok {
		_ = conn.CloseWrite()
	}
	x.Hang()
}

// Hang answers nothing until the client closes the connection.
func (x *Exchange) Hang() {
	x.ended = true
	Hang(x.Conn)
}

// Reset ends the connection with a reset.
func (x *Exchange) Reset() {
	x.ended = true
	reset(x.Conn)
}

// Reply reads the request and answers with 200 and a body.
func Reply(body string) Script {
	return func(x *Exchange) {
		_ = x.ReadBody()
		x.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
}

// CloseUnanswered reads the request and closes the connection.
func CloseUnanswered(x *Exchange) {
	_ = x.ReadBody()
	x.Close()
}

// ResetUnanswered reads the request and resets the connection.
func ResetUnanswered(x *Exchange) {
	_ = x.ReadBody()
	x.Reset()
}

// CloseWithin reads the request and answers with 200, but closes the connection within the
// body: there are more bytes announced than beginning has.
func CloseWithin(beginning string) Script {
	return func(x *Exchange) {
		_ = x.ReadBody()
		x.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(beginning)+1000, beginning))
		x.Close()
	}
}

// AnswerEarly answers with a status and an empty body as soon as it has the header, and ends
// its side of the connection.
func AnswerEarly(status int) Script {
	return func(x *Exchange) {
		x.Send(fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status, http.StatusText(status)))
		x.CloseWrite()
	}
}
