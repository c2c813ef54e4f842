package same

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// sameAnswer is what an upstream does with a request: well-behaved or not.
type sameAnswer struct {
	early   bool          // it answers before it reads the body
	interim []string      // whole heads that come first, such as 103 Early Hints
	proto   string        // of the status line
	status  string        // "200 OK"
	fields  []string      // "Name: value"
	framing string        // length, chunked, close, or empty: no body and no word of it
	body    string        // of the answer
	trailer []string      // "Name: value", after a chunked body
	raw     string        // sent instead of all that, if it is not empty
	cut     int           // bytes of it all after which it ends; 0: it is whole
	pieces  int           // how many it is sent in; 0: one
	pause   time.Duration // between the pieces
	late    time.Duration // before the answer begins
	ending  string        // close, reset, hang until the proxy leaves, or empty: it goes on
	upgrade bool          // once the answer is sent, a line is read and answered on the connection
}

// text is the answer as it goes over the wire in HTTP/1.
func (a *sameAnswer) text(method string) string {
	if a.raw != "" {
		return a.raw
	}
	if a.status == "" {
		return ""
	}
	var b strings.Builder
	for _, head := range a.interim {
		b.WriteString(head)
	}
	proto := a.proto
	if proto == "" {
		proto = "HTTP/1.1"
	}
	b.WriteString(proto + " " + a.status + "\r\n")
	for _, field := range a.fields {
		b.WriteString(field + "\r\n")
	}
	body := a.body
	switch a.framing {
	case "length":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	case "chunked":
		b.WriteString("Transfer-Encoding: chunked\r\n")
		body = inChunks(body) + "0\r\n"
		for _, field := range a.trailer {
			body += field + "\r\n"
		}
		body += "\r\n"
	}
	b.WriteString("\r\n")
	if method != http.MethodHead {
		b.WriteString(body)
	}
	text := b.String()
	if a.cut > 0 && a.cut < len(text) {
		text = text[:a.cut]
	}
	return text
}

// isNone tells whether the connection ends before there is a whole head.
func (a *sameAnswer) isNone() bool { return a.ends() && !strings.Contains(a.text("GET"), "\r\n\r\n") }

// ends tells whether the connection is over after the answer.
func (a *sameAnswer) ends() bool {
	if a.ending != "" || a.framing == "close" || a.upgrade {
		return true
	}
	for _, field := range a.fields {
		if strings.EqualFold(field, "Connection: close") {
			return true
		}
	}
	return false
}

// send sends the answer, and tells whether the connection can be used again.
func (a *sameAnswer) send(conn net.Conn, req *http.Request, body io.Reader) bool {
	if !a.early {
		if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return false
		}
	}
	time.Sleep(a.late)
	text := a.text(req.Method)
	for n := max(a.pieces, 1); n > 0 && len(text) > 0; n-- {
		size := (len(text) + n - 1) / n
		if _, err := io.WriteString(conn, text[:size]); err != nil {
			return false
		}
		text = text[size:]
		if n > 1 {
			time.Sleep(a.pause)
		}
	}
	if a.upgrade {
		a.echo(conn)
		return false
	}
	switch {
	case a.ending == "reset":
		resetConn(conn)
	case a.ending == "hang":
		_, _ = io.Copy(io.Discard, conn)
	case a.ends():
		endGently(conn)
	default:
		_, err := io.Copy(io.Discard, body)
		return err == nil
	}
	return false
}

// echo answers one line on a connection that has been upgraded.
func (a *sameAnswer) echo(conn net.Conn) {
	line := make([]byte, 5)
	if _, err := io.ReadFull(conn, line); err == nil {
		_, _ = io.WriteString(conn, "echo "+string(line))
	}
}

// endGently closes this side of a connection, and waits a while for the other side to have
// seen it: a proxy that does not read from idle connections sees it only when it needs one.
func endGently(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	_, _ = io.Copy(io.Discard, conn)
}

// resetConn ends a connection with a reset.
func resetConn(conn net.Conn) {
	if inner, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = inner.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// serveHTTP answers over HTTP/2, where nothing can be wrong with the framing.
func (a *sameAnswer) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.early {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	time.Sleep(a.late)
	if a.status == "" || a.raw != "" || a.cut > 0 {
		panic(http.ErrAbortHandler)
	}
	for _, field := range a.fields {
		name, value := splitField(field)
		w.Header().Add(name, value)
	}
	for _, field := range a.trailer {
		name, value := splitField(field)
		defer w.Header().Add(http.TrailerPrefix+name, value)
	}
	var status int
	_, _ = fmt.Sscan(a.status, &status)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, a.body)
}

// String describes the answer.
func (a *sameAnswer) String() string {
	text := shortened(a.text(http.MethodGet))
	if a.early {
		text += " before the body is read"
	}
	if a.pieces > 1 {
		text += fmt.Sprintf(", in %d pieces", a.pieces)
	}
	if a.late > 0 {
		text += fmt.Sprintf(", after %v", a.late)
	}
	if a.ending != "" {
		text += ", then: " + a.ending
	}
	return text
}
