package h1

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// outcome is all that can be seen of a request, but for what the server has received.
type outcome struct {
	status, proto string
	header        string
	length        int64
	encoding      []string
	closes        bool
	uncompressed  bool
	body          string
	bodyErr       string
	trailer       string
	informed      []string
	err           string
	is            []string
	writable      bool
	reused        bool
}

// send sends a request, and returns all that can be seen of the answer.
func send(t *testing.T, transport http.RoundTripper, addr string, make func(addr string) *http.Request) (o outcome) {
	t.Helper()
	req := make(addr)
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { o.reused = info.Reused },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			o.informed = append(o.informed, fmt.Sprint(code, header))
			return nil
		},
	})
	res, err := transport.RoundTrip(req.WithContext(ctx))
	o.err, o.is = told(err)
	if err != nil {
		return o
	}
	defer func() { _ = res.Body.Close() }()
	o.status, o.proto, o.header = res.Status, res.Proto, fmt.Sprint(res.Header)
	o.length, o.encoding, o.closes, o.uncompressed = res.ContentLength, res.TransferEncoding, res.Close, res.Uncompressed
	if upgraded, ok := res.Body.(io.ReadWriteCloser); ok {
		o.writable = true
		_, _ = io.WriteString(upgraded, "what the client says")
		if half, ok := res.Body.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	body, err := io.ReadAll(res.Body)
	o.body = string(body)
	o.bodyErr, o.is = told(err)
	o.trailer = fmt.Sprint(res.Trailer)
	return o
}

// told returns the text of an error without ports, and what it is.
func told(err error) (text string, is []string) {
	if err == nil {
		return "", nil
	}
	text = err.Error()
	if netErr, ok := errors.AsType[*net.OpError](err); ok {
		text = strings.ReplaceAll(text, netErr.Error(), netErr.Op+": "+netErr.Err.Error())
	}
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded, net.ErrClosed} {
		if errors.Is(err, known) {
			is = append(is, known.Error())
		}
	}
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		is = append(is, "timeout")
	}
	return text, is
}

func plainRequest(method string) func(string) *http.Request {
	return requestWith(method, nil, nil)
}

// requestWith makes requests with a body that is not known to be in memory.
func requestWith(method string, body func() io.Reader, change func(*http.Request)) func(string) *http.Request {
	return func(addr string) *http.Request {
		var reader io.Reader
		if body != nil {
			reader = struct{ io.Reader }{body()}
		}
		req, err := http.NewRequest(method, "http://"+addr+"/path?q=%20", reader)
		if err != nil {
			panic(err)
		}
		if change != nil {
			change(req)
		}
		return req
	}
}

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

func set(fields ...string) func(*http.Request) {
	return func(req *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			req.Header.Add(fields[i], fields[i+1])
		}
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// requests are those of the comparison.
var requests = map[string]func(string) *http.Request{
	"GET":                    plainRequest("GET"),
	"HEAD":                   plainRequest("HEAD"),
	"OPTIONS":                plainRequest("OPTIONS"),
	"DELETE":                 plainRequest("DELETE"),
	"a method of its own":    plainRequest("BREW"),
	"POST without a body":    plainRequest("POST"),
	"many fields":            requestWith("GET", nil, set("X-A", "1", "X-A", "2", "x-b", "", "User-Agent", "", "Accept-Encoding", "br", "Cookie", "a=b")),
	"user agent":             requestWith("GET", nil, set("User-Agent", " some agent ")),
	"range":                  requestWith("GET", nil, set("Range", "bytes=0-1")),
	"another host":           requestWith("GET", nil, func(r *http.Request) { r.Host = "example.com" }),
	"an invalid host":        requestWith("GET", nil, func(r *http.Request) { r.Host = "a b" }),
	"close":                  requestWith("GET", nil, func(r *http.Request) { r.Close = true }),
	"connection: close":      requestWith("GET", nil, set("Connection", "close")),
	"of known length":        requestWith("POST", text("hello"), func(r *http.Request) { r.ContentLength = 5 }),
	"too short":              requestWith("POST", text("hell"), func(r *http.Request) { r.ContentLength = 5 }),
	"too long":               requestWith("POST", text("hello and more"), func(r *http.Request) { r.ContentLength = 5 }),
	"chunked":                requestWith("PUT", text("hello\r\n"), nil),
	"only line ends":         requestWith("PUT", text("\r\n"), nil),
	"GET with a body":        requestWith("GET", text("hello"), nil),
	"GET with an empty body": requestWith("GET", text(""), nil),
	"large":                  requestWith("POST", text(strings.Repeat("0123456789abcdef", 1<<14)), func(r *http.Request) { r.ContentLength = 1 << 18 }),
	"large chunked":          requestWith("POST", text(strings.Repeat("0123456789abcdef", 1<<14)), nil),
	"trailers": requestWith("POST", text("hello"), func(r *http.Request) {
		r.Trailer = http.Header{"X-Sum": {"1"}, "X-Check": {"2", "3"}}
	}),
	"an unreadable body": requestWith("POST", func() io.Reader {
		return io.MultiReader(strings.NewReader("hello"), failing{})
	}, nil),
	"expects":         requestWith("POST", text("hello"), func(r *http.Request) { r.ContentLength = 5; r.Header.Set("Expect", "100-continue") }),
	"websocket":       requestWith("GET", nil, set("Upgrade", "websocket", "Connection", "Upgrade")),
	"idempotent POST": requestWith("POST", nil, set("Idempotency-Key", "1")),
}

// unsendable are requests that no server gets to see, whichever it is.
var unsendable = map[string]func(string) *http.Request{
	"invalid field":   requestWith("GET", nil, func(r *http.Request) { r.Header["X Y"] = []string{"1"} }),
	"invalid value":   requestWith("GET", nil, set("X-Y", "a\x00b")),
	"invalid trailer": requestWith("POST", text("hello"), func(r *http.Request) { r.Trailer = http.Header{"X": {"a\nb"}} }),
	"invalid method":  requestWith("GET", nil, func(r *http.Request) { r.Method = "A B" }),
	"no host":         requestWith("GET", nil, func(r *http.Request) { r.URL.Host = "" }),
	"control bytes":   requestWith("GET", nil, func(r *http.Request) { r.URL.Opaque = "/a\x01b" }),
	"another scheme":  requestWith("GET", nil, func(r *http.Request) { r.URL.Scheme = "ftp" }),
}

// failing fails to be read.
type failing struct{}

var errFailing = errors.New("the body cannot be read")

func (failing) Read([]byte) (int, error) { return 0, errFailing }

// says answers with a text as it is.
func says(answer string) proxytest.Script {
	return func(x *proxytest.Exchange) {
		_ = x.ReadBody()
		x.Send(answer)
	}
}

func saysAndCloses(answer string) proxytest.Script {
	return func(x *proxytest.Exchange) {
		_ = x.ReadBody()
		x.Send(answer)
		x.Close()
	}
}

// scripts are the servers of the comparison.
var scripts = map[string]proxytest.Script{
	"plain":               says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello"),
	"empty":               says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
	"chunked":             says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n"),
	"trailers":            says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"),
	"no content":          says("HTTP/1.1 204 No Content\r\n\r\n"),
	"not modified":        says("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
	"to the end":          saysAndCloses("HTTP/1.1 200 OK\r\n\r\nhello"),
	"HTTP/1.0":            saysAndCloses("HTTP/1.0 200 OK\r\n\r\nhello"),
	"HTTP/1.0 kept":       says("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"),
	"closing":             saysAndCloses("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"),
	"folded":              says("HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\nContent-Length: 5\r\n\r\nhello"),
	"both lengths":        says("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
	"two lengths":         says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
	"one length twice":    says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
	"negative length":     says("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
	"unknown encoding":    says("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello"),
	"gzip":                says(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(gzipped("hello")), gzipped("hello"))),
	"broken gzip":         says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"),
	"hints":               says("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
	"no reason":           says("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"),
	"bare line feeds":     says("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
	"not HTTP":            saysAndCloses("220 mail.example.com ESMTP\r\n"),
	"HTTP/2 frames":       saysAndCloses("\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
	"a TLS alert":         saysAndCloses("\x15\x03\x01\x00\x02\x02\x46\r\n"),
	"HTTP/3.7":            says("HTTP/3.7 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
	"a bad field":         says("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
	"silence and end":     proxytest.CloseUnanswered,
	"within the header":   saysAndCloses("HTTP/1.1 200 OK\r\nContent-Le"),
	"within the body":     proxytest.CloseWithin("hel"),
	"within a chunk":      saysAndCloses("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
	"a bad chunk":         says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
	"more than an answer": says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
	"a body to 204":       says("HTTP/1.1 204 No Content\r\n\r\nevil"),
	"long header":         says("HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 20_000) + "\r\nContent-Length: 5\r\n\r\nhello"),
	"switching":           switching("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly "),
	"101 without upgrade": saysAndCloses("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
	"continue": func(x *proxytest.Exchange) {
		x.Send("HTTP/1.1 100 Continue\r\n\r\n")
		_ = x.ReadBody()
		x.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	},
	"second unanswered": func(x *proxytest.Exchange) {
		_ = x.ReadBody()
		if x.N == 1 {
			x.Close()
			return
		}
		x.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	},
	"closing when idle": func(x *proxytest.Exchange) {
		_ = x.ReadBody()
		x.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		x.Close()
	},
}

// switching answers with a text and then says what it is told.
func switching(answer string) proxytest.Script {
	return func(x *proxytest.Exchange) {
		x.Send(answer)
		said, _ := io.ReadAll(x.Conn)
		x.Send("heard " + string(said))
		x.Close()
	}
}

// often are the requests that are sent with all settings.
var often = map[string]bool{"GET": true, "HEAD": true, "of known length": true, "large chunked": true, "expects": true, "close": true, "websocket": true}

// TestIsTheSameAsHTTPTransport sends the same requests to the same servers over both, and
// compares all that the client and the server can see. Usually, that is every other request to each
// server; all with PROXYOS_LONG=1.
func TestIsTheSameAsHTTPTransport(t *testing.T) {
	settings := map[string]*http.Transport{
		"default":        {},
		"no compression": {DisableCompression: true, ExpectContinueTimeout: 100 * time.Millisecond},
		"no keep-alive":  {DisableKeepAlives: true},
		"small buffers":  {ReadBufferSize: 16, WriteBufferSize: 16, MaxResponseHeaderBytes: 10_000},
	}
	isLong := os.Getenv("PROXYOS_LONG") == "1"
	for _, setting := range slices.Sorted(maps.Keys(settings)) {
		for i, script := range slices.Sorted(maps.Keys(scripts)) {
			t.Run(setting+"/"+script, func(t *testing.T) {
				t.Parallel()
				for j, request := range slices.Sorted(maps.Keys(requests)) {
					isDue := isLong || (i+j)%2 == 0 || setting == "default" && often[request]
					if isDue && (setting == "default" || often[request]) {
						compare(t, settings[setting], script, requests[request], request)
					}
				}
			})
		}
	}
}

func TestRejectsWhatHTTPTransportRejects(t *testing.T) {
	for name, request := range unsendable {
		compare(t, new(http.Transport), "plain", request, name)
	}
}

// racy are requests that fail while the answer may be on its way: either may come first.
var racy = map[string]bool{"too short": true, "too long": true, "an unreadable body": true, "control bytes": true}

// compare fails if an outcome differs. What depends on a race is tried until both have won it.
func compare(t *testing.T, settings *http.Transport, script string, request func(string) *http.Request, name string) {
	times, attempts := 3, 1
	if racy[name] || script == "switching" {
		times, attempts = 1, 50
	} else if script == "closing when idle" { // perhaps when the next request is under way
		attempts = 50
	}
	var theirs, ours string
	for range attempts {
		theirs = observe(t, times, settings.Clone(), nil, scripts[script], request)
		ours = observe(t, times, nil, New(settings.Clone()), scripts[script], request)
		if theirs == ours {
			return
		}
	}
	t.Errorf("%s:\nhttp.Transport\n%s\nh1\n%s", name, theirs, ours)
}

// observe sends a request some times, and describes all that can be seen.
func observe(t *testing.T, times int, theirs *http.Transport, ours *Transport, script proxytest.Script, request func(string) *http.Request) string {
	server := proxytest.NewScripted(t, script)
	var transport http.RoundTripper = theirs
	pause := 8 * time.Millisecond // http.Transport notices in a goroutine that a connection has ended
	if ours != nil {
		transport, pause = ours, 2*time.Millisecond // loopback, too, takes its time
		defer ours.CloseIdleConnections()
	} else {
		defer theirs.CloseIdleConnections()
	}
	var b strings.Builder
	for range times {
		fmt.Fprintf(&b, "%+q\n", fmt.Sprintf("%+v", send(t, transport, server.Addr, request)))
		time.Sleep(pause)
	}
	fmt.Fprintf(&b, "connections: %d\n", server.Conns.Load())
	for _, r := range server.Requests() {
		body := r.Body
		if len(body) > 100 {
			body = fmt.Sprintf("%d bytes", len(body))
		}
		fmt.Fprintf(&b, "%d %q %q %v\n", r.Conn, r.Header, body, r.Parsed.Trailer)
	}
	text := strings.ReplaceAll(b.String(), server.Addr, "server")
	server.Close()
	return text
}
