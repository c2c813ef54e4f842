package same

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// samePatience is how long a client waits for the whole of an answer.
const samePatience = 8 * time.Second

// sendRaw sends a request over a connection of its own in HTTP/1, byte for byte, and returns
// what came back, line by line. It ends the connection only once settled returns: to a server,
// a client that has left looks the same as one that has all it wants.
func sendRaw(addr string, r *sameRequest, settled func(seen []string)) []string {
	conn, err := net.Dial("tcp", addr)
	if err == nil && r.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: sameName, NextProtos: []string{"http/1.1"}})
	}
	if err != nil {
		return []string{"no connection: " + err.Error()}
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(samePatience))
	mayContinue := make(chan bool, 1)
	go writeRaw(conn, r, mayContinue)
	return readRaw(conn, bufio.NewReaderSize(conn, 1<<17), r, mayContinue, settled)
}

// writeRaw sends the head, and the body once it may.
func writeRaw(conn net.Conn, r *sameRequest, mayContinue <-chan bool) {
	if r.expects {
		_, _ = io.WriteString(conn, r.head())
		select {
		case may := <-mayContinue:
			if !may {
				return
			}
		case <-time.After(time.Second): // as clients do that have waited in vain
		}
		_, _ = io.WriteString(conn, r.content())
	} else {
		_, _ = io.WriteString(conn, r.head()+r.content())
	}
	if r.cut > 0 {
		halfClose(conn)
	}
}

// readRaw reads heads until the last one, then the body, then the end of the connection.
func readRaw(conn net.Conn, reader *bufio.Reader, r *sameRequest, mayContinue chan<- bool, settled func([]string)) (seen []string) {
	defer close(mayContinue)
	for {
		head, err := peekHead(reader)
		if err != nil {
			return append(seen, "instead of a head: "+digest(head)+", "+ending(err))
		}
		line, fields, _ := strings.Cut(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
		seen = append(seen, line)
		if fields != "" {
			seen = append(seen, strings.Split(strings.TrimSpace(sortedFields(strings.Split(fields, "\r\n"))), "\n")...)
		}
		res, err := http.ReadResponse(reader, &http.Request{Method: r.method})
		if err != nil {
			return append(seen, "what is no answer: "+err.Error())
		}
		switch {
		case res.StatusCode == http.StatusContinue && r.expects:
			select {
			case mayContinue <- true:
			default:
			}
			continue
		case res.StatusCode == http.StatusSwitchingProtocols:
			_, _ = io.WriteString(conn, "ping\n")
			rest, err := io.ReadAll(reader)
			return append(seen, "after the upgrade "+digest(string(rest)), ending(err))
		case res.StatusCode < 200:
			continue
		}
		body, err := io.ReadAll(res.Body)
		seen = append(seen, "body "+digest(string(body)))
		if len(res.Trailer) > 0 {
			seen = append(seen, "trailer "+sortedFields(linesOf(res.Trailer)))
		}
		if err != nil {
			return append(seen, "broken off: "+ending(err))
		}
		settled(seen)
		halfClose(conn)
		rest, err := io.ReadAll(reader)
		if len(rest) > 0 {
			seen = append(seen, "after the answer "+digest(string(rest)))
		}
		return append(seen, ending(err))
	}
}

func halfClose(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// ending says how a connection or a stream has ended.
func ending(err error) string {
	switch text := fmt.Sprint(err); {
	case err == nil, err == io.EOF:
		return "ended cleanly"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "ended too early"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(text, "timeout"):
		return "went on without an end"
	case strings.Contains(text, "stream error: stream ID"):
		return "stream ended with " + text[strings.LastIndex(text, ";")+1:]
	default:
		return "ended with " + text
	}
}

// digest shows a text, shortened where it is long.
func digest(text string) string {
	if len(text) <= 200 {
		return fmt.Sprintf("%d %q", len(text), text)
	}
	return fmt.Sprintf("%d bytes, SHA-256 %.12x, beginning with %q", len(text), sha256.Sum256([]byte(text)), text[:40])
}

// sendWith sends a request with a client of HTTP/2 or 3, and returns what came back.
func sendWith(transport http.RoundTripper, addr string, r *sameRequest) (seen []string) {
	ctx, cancel := context.WithTimeout(context.Background(), samePatience)
	defer cancel()
	interim := new(interimHeads)
	req, err := http.NewRequestWithContext(interim.watch(ctx), r.method, "https://"+addr+"/", nil)
	if err != nil {
		return []string{"no request: " + err.Error()}
	}
	req.URL.Opaque = r.target
	if r.target != "*" {
		req.URL.Opaque = "//" + r.host + r.target
	}
	req.URL.Host, req.Host = addr, r.host
	req.Header["User-Agent"] = nil // none, unless the request has one
	for _, field := range r.fields {
		name, value := splitField(field)
		req.Header[http.CanonicalHeaderKey(name)] = append(req.Header[http.CanonicalHeaderKey(name)], value)
	}
	r.giveBody(req, cancel)

	res, err := transport.RoundTrip(req)
	seen = interim.all()
	if err != nil && r.proto == "3" && !errors.Is(err, context.DeadlineExceeded) {
		return []string{"broken off"}
	}
	if err != nil {
		return append(seen, "no answer: "+ending(err))
	}
	defer res.Body.Close()
	seen = append(seen, fmt.Sprintf("%s %d", res.Proto, res.StatusCode))
	seen = append(seen, strings.Split(strings.TrimSpace(sortedFields(linesOf(res.Header))), "\n")...)
	body, err := io.ReadAll(res.Body)
	seen = append(seen, fmt.Sprintf("body %s, announced %d", digest(string(body)), res.ContentLength))
	if len(res.Trailer) > 0 {
		seen = append(seen, "trailer "+sortedFields(linesOf(res.Trailer)))
	}
	if err != nil && r.proto == "3" {
		return []string{"broken off"} // a reset overtakes what was sent before it
	}
	return append(seen, ending(err))
}

// splitField returns the name and the value of "Name: value".
func splitField(field string) (name, value string) {
	name, value, _ = strings.Cut(field, ":")
	return name, strings.TrimSpace(value)
}

// giveBody gives a request of HTTP/2 or 3 its body, and the trailer that comes with it.
func (r *sameRequest) giveBody(req *http.Request, leave func()) {
	if r.framing == "" {
		return
	}
	var body io.Reader = bytes.NewReader([]byte(r.sent()))
	if r.cut > 0 {
		body = io.MultiReader(body, leaver(leave))
	}
	req.Body, req.ContentLength = io.NopCloser(body), int64(len(r.body))
	if r.framing == "chunked" {
		req.ContentLength = -1
	}
	for _, field := range r.trailer {
		name, value := splitField(field)
		if req.Trailer == nil {
			req.Trailer = make(http.Header)
		}
		req.Trailer.Add(name, value)
	}
	if r.expects {
		req.Header.Set("Expect", "100-continue")
	}
}

// sent is as much of the body as is sent, without any framing.
func (r *sameRequest) sent() string {
	if r.cut > 0 {
		return r.body[:r.cut]
	}
	return r.body
}

// leaver is a body of a client that leaves.
type leaver func()

func (l leaver) Read([]byte) (int, error) {
	time.Sleep(20 * time.Millisecond)
	l()
	return 0, io.ErrUnexpectedEOF
}
