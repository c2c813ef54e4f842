package same

import (
	"fmt"
	"strings"
	"time"
)

// The tables are pieces, from which the generator, too, puts its pairs together.

var (
	sameMethods = []string{"GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "BREW", "get"}

	sameTargets = []string{
		"/", "/a/b", "/a%2Fb", "/a%2fb/%20c", "//", "//a//b/", "/a/../b", "/a/./b", "/?", "/?a", "/?a=1&b=2;c=3", "/a?b=%zz", "/a?b?c",
		"/%E2%82%AC", "/a;b=c", "/a+b", "/a?" + strings.Repeat("q", 3000), "/a%00b", "/a|b", `/a"b`, "/a?b=\"c", "/%", "/a:b", "/*",
	}

	sameFields = []string{
		"User-Agent: test/1", "User-Agent: ", "Accept-Encoding: gzip", "Accept-Encoding: br, gzip;q=0.5", "Range: bytes=0-1", "Accept: */*",
		"X-Forwarded-For: 7.7.7.7", "X-Forwarded-For: 7.7.7.7, 8.8.8.8", "X-Forwarded-Proto: https", "X-Forwarded-Host: other.test", "X-Forwarded-For:",
		"X-Real-IP: 6.6.6.6", "X-Real-Ip: 5.5.5.5", "Forwarded: for=7.7.7.7", "Via: 1.0 other", "Via: 1.1 a, 1.1 b",
		"Connection: keep-alive", "Connection: close", "Connection: X-Hop, X-Other", "Connection: Te", "X-Hop: 1", "X-Other: 2", "Connection: X-Forwarded-For",
		"Connection:", "Connection: X-Real-IP", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic abc", "Proxy-Authenticate: Basic",
		"Te: trailers", "Te: gzip, trailers", "TE: deflate", "Trailer: X-Sum", "Upgrade: h2c", "Authorization: Basic dXNlcjpwYXNz",
		"X-Many: 1", "X-Many: 2", "x-many: 3", "X-Empty:", "X-Empty: ", "X-Up: up", "Cookie: a=b", "Cookie: c=d; e=f", "If-None-Match: \"x\"",
		"X_Underscore: 1", "X.Dot: 1", "Content-Type: text/plain", "Content-Encoding: gzip", "X-Long: " + strings.Repeat("v", 5000), "X-Latin: caf\xe9",
		"Sec-Fetch-Mode: cors", "Early-Data: 1", "Accept-Language: de", "Max-Forwards: 0", "Incremental: ?1", "Priority: u=1",
	}
)

// sameRequests are requests that each differ from a plain one in one thing.
func sameRequests() []*sameRequest {
	var all []*sameRequest
	add := func(change func(*sameRequest)) {
		for _, proto := range []string{"1.1", "2"} {
			request := get(proto)
			if change(request); request.proto == "2" && (request.target == "/%" || request.hasConnectionField()) {
				continue
			}
			all = append(all, request)
		}
	}
	for _, proto := range []string{"1.0", "1.1", "2", "3"} {
		all = append(all, get(proto), post(proto, ""), post(proto, "some text"), post(proto, strings.Repeat("0123456789", 20_000)))
	}
	for _, method := range sameMethods[3:] {
		add(func(r *sameRequest) { r.method = method })
	}
	for _, target := range sameTargets {
		add(func(r *sameRequest) { r.target = target })
	}
	for _, field := range sameFields {
		add(func(r *sameRequest) { r.fields = []string{field} })
	}
	for _, fields := range [][]string{
		{"Connection: X-Hop", "X-Hop: 1", "X-Stays: 2"}, {"X-Many: 1", "X-Other: 0", "x-many: 2"}, {"X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"},
		{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc", "Sec-WebSocket-Version: 13"}, {"Connection: upgrade", "Upgrade: h2c", "HTTP2-Settings: AAA"},
		{"Connection: Upgrade", "Upgrade: foo"}, {"Connection: Te", "Te: trailers"}, {"Connection: keep-alive, X-Hop", "Connection: X-More", "X-More: 1"},
	} {
		add(func(r *sameRequest) { r.fields = fields })
	}
	for _, host := range []string{"", "app.test:8080", "APP.test", "[::1]:80", "127.0.0.1", "a_b.test"} {
		add(func(r *sameRequest) { r.host = host })
	}
	add(func(r *sameRequest) { r.method, r.target = "OPTIONS", "*" })
	add(func(r *sameRequest) { r.method, r.body, r.framing = "POST", strings.Repeat("x", 5000), "chunked" })
	add(func(r *sameRequest) { r.method, r.framing = "POST", "chunked" })
	add(func(r *sameRequest) {
		r.method, r.body, r.framing, r.trailer = "POST", "with a trailer", "chunked", []string{"X-Sum: 1", "X-Other: 2"}
	})
	add(func(r *sameRequest) { r.method, r.body, r.framing, r.expects = "PUT", "expected", "length", true })
	add(func(r *sameRequest) { r.method, r.body, r.framing, r.expects = "PUT", "expected", "chunked", true })
	add(func(r *sameRequest) { r.body, r.framing = "a GET with a body", "length" })
	add(func(r *sameRequest) { r.method, r.body, r.framing = "OPTIONS", "a body", "length" })
	all = append(all, &sameRequest{proto: "1.0", method: "GET", target: "/"}, &sameRequest{proto: "1.1", tls: true, method: "GET", target: "/", host: "app.test"},
		&sameRequest{proto: "1.0", method: "GET", target: "/", host: "app.test", fields: []string{"Connection: keep-alive"}},
		&sameRequest{proto: "1.1", method: "GET", target: "http://absolute.test/path", host: "app.test"})
	return all
}

// hasConnectionField tells whether a request has a field that HTTP/2 does not.
func (r *sameRequest) hasConnectionField() bool {
	for _, name := range connectionFields {
		if r.has(name) {
			return true
		}
	}
	return false
}

// sameStatuses are the statuses of answers.
var sameStatuses = []string{
	"200 OK", "200 OK", "200 OK", "201 Created", "204 No Content", "206 Partial Content", "301 Moved Permanently", "304 Not Modified", "307 Temporary Redirect",
	"400 Bad Request", "401 Unauthorized", "404 Not Found", "418 I'm a teapot", "429 Too Many Requests", "500 Internal Server Error", "502 Bad Gateway",
	"503 Service Unavailable", "504 Gateway Timeout", "299 Own Words", "200", "599 Odd",
}

// sameAnswerFields are header fields of answers.
var sameAnswerFields = []string{
	"Content-Type: text/html", "Content-Type: text/event-stream", "Set-Cookie: a=b", "Set-Cookie: c=d; Path=/", "set-cookie: e=f", "X-ODD-cAsE: 1", "x-odd-case: 2",
	"Server: app/1", "Date: Thu, 01 Jan 1970 00:00:00 GMT", "Via: 1.1 inner", "Connection: close", "Connection: keep-alive", "Connection: X-Hop", "X-Hop: 1",
	"Keep-Alive: timeout=5", "Trailer: X-Sum", "Upgrade: h2c", "Location: http://inside/path", "Content-Encoding: gzip", "X-Empty:", "X-Long: " + strings.Repeat("w", 20_000),
	"Alt-Svc: h3=\":443\"", "Proxy-Authenticate: Basic", "WWW-Authenticate: Basic", "Cache-Control: no-store", "X-Latin: caf\xe9", "Content-Length: 5", "Te: trailers",
	"X-Accel-Buffering: no", "Incremental: ?1", "Etag: \"x\"",
}

// sameAnswers are answers that each differ from a plain one in one thing.
func sameAnswers() []*sameAnswer {
	var all []*sameAnswer
	add := func(change func(*sameAnswer)) {
		answer := ok()
		change(answer)
		all = append(all, answer)
	}
	for _, status := range sameStatuses {
		add(func(a *sameAnswer) {
			if a.status = status; strings.HasPrefix(status, "204") || strings.HasPrefix(status, "304") {
				a.framing, a.body = "", ""
			}
		})
	}
	for _, field := range sameAnswerFields {
		add(func(a *sameAnswer) {
			if a.fields = append(a.fields, field); strings.HasPrefix(field, "Content-Length") {
				a.framing = ""
			}
		})
	}
	for _, framing := range []string{"length", "chunked", "close"} {
		for _, body := range []string{"", "short", strings.Repeat("0123456789", 30_000)} {
			add(func(a *sameAnswer) { a.framing, a.body = framing, body })
			add(func(a *sameAnswer) { a.framing, a.body, a.pieces, a.pause = framing, body, 4, 3*time.Millisecond })
			add(func(a *sameAnswer) { a.framing, a.body, a.proto = framing, body, "HTTP/1.0"; a.ending = "close" })
			if body != "" {
				add(func(a *sameAnswer) { a.framing, a.body, a.cut, a.ending = framing, body, len(body)/2+90, "close" })
				add(func(a *sameAnswer) { a.framing, a.body, a.cut, a.ending = framing, body, len(body)/2+90, "reset" })
			}
		}
	}
	add(func(a *sameAnswer) { a.interim = []string{earlyHints} })
	add(func(a *sameAnswer) { a.interim = []string{earlyHints, "HTTP/1.1 102 Processing\r\n\r\n", earlyHints} })
	add(func(a *sameAnswer) { a.interim = []string{"HTTP/1.1 100 Continue\r\n\r\n"} })
	add(func(a *sameAnswer) { a.framing, a.trailer = "chunked", []string{"X-Sum: unannounced"} })
	add(func(a *sameAnswer) {
		a.framing, a.trailer, a.fields = "chunked", []string{"X-Sum: 1", "X-Sum: 2"}, append(a.fields, "Trailer: X-Sum")
	})
	for _, raw := range sameRawAnswers {
		all = append(all, &sameAnswer{raw: raw, ending: "close"})
	}
	all = append(all, &sameAnswer{ending: "close"}, &sameAnswer{ending: "reset"}, &sameAnswer{ending: "close", early: true}, &sameAnswer{ending: "reset", early: true},
		&sameAnswer{raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloand more", ending: ""})
	return all
}

const earlyHints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"

// sameRawAnswers are answers of upstreams that misbehave, as they are sent.
var sameRawAnswers = []string{
	"garbage\r\n\r\n", "\x16\x03\x01\x00", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/3.0 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 1000 OK\r\n\r\n",
	"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "HTTP/1.0 200 OK\r\n\r\nuntil the end", "HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX-Bad: a\x00b\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n: empty\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nX-B\xe4d: 1\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n2\r\nhi\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x", 1<<40) + "\r\nhello",
}
