package same

import (
	"fmt"
	"slices"
	"strings"
)

// sameRequest is a request as a client sends it. All three ways get the same bytes of it.
type sameRequest struct {
	proto  string // of the client: 1.0, 1.1, 2 or 3
	tls    bool   // HTTP/1 over TLS; HTTP/2 and 3 always are
	method string
	target string
	host   string   // empty: HTTP/1.0 without a Host field
	fields []string // "Name: value"

	body    string
	framing string   // length, chunked, or empty: no body
	trailer []string // "Name: value", after a chunked body
	expects bool     // Expect: 100-continue, and the body only once that has come
	cut     int      // bytes of the body after which the client leaves; 0: it stays
}

// head is the request line and the header, in HTTP/1.
func (r *sameRequest) head() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/%s\r\n", r.method, r.target, r.proto)
	if r.host != "" {
		fmt.Fprintf(&b, "Host: %s\r\n", r.host)
	}
	for _, field := range r.fields {
		b.WriteString(field + "\r\n")
	}
	switch r.framing {
	case "length":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	case "chunked":
		b.WriteString("Transfer-Encoding: chunked\r\n")
	}
	if r.expects {
		b.WriteString("Expect: 100-continue\r\n")
	}
	for _, field := range r.trailer {
		name, _, _ := strings.Cut(field, ":")
		b.WriteString("Trailer: " + name + "\r\n")
	}
	return b.String() + "\r\n"
}

// content is the body with its framing, in HTTP/1.
func (r *sameRequest) content() string {
	body := r.body
	if r.cut > 0 {
		body = body[:r.cut]
	}
	if r.framing != "chunked" {
		return body
	}
	text := inChunks(body)
	if r.cut > 0 {
		return text
	}
	text += "0\r\n"
	for _, field := range r.trailer {
		text += field + "\r\n"
	}
	return text + "\r\n"
}

// chunked returns a text in chunks of at most 1000 bytes, without the last one.
func inChunks(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		n := min(len(text), 1000)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, text[:n])
		text = text[n:]
	}
	return b.String()
}

// overHTTP1 tells whether the client speaks HTTP/1.
func (r *sameRequest) overHTTP1() bool { return strings.HasPrefix(r.proto, "1.") }

// mayRepeat tells whether a request may be sent again after a failure.
func (r *sameRequest) mayRepeat() bool {
	return slices.Contains([]string{"GET", "HEAD", "OPTIONS", "TRACE"}, r.method)
}

// has tells whether the request has a header field.
func (r *sameRequest) has(name string) bool {
	for _, field := range r.fields {
		if got, _, _ := strings.Cut(field, ":"); strings.EqualFold(got, name) {
			return true
		}
	}
	return false
}

// String describes the request so that it can be sent again by hand.
func (r *sameRequest) String() string {
	text := fmt.Sprintf("over HTTP/%s (TLS: %v)", r.proto, r.tls || !r.overHTTP1())
	if r.cut > 0 {
		text += fmt.Sprintf(", the client leaves after %d bytes of the body", r.cut)
	}
	return text + "\n" + shortened(r.head()+r.content())
}

// connectionFields are those that HTTP/2 and 3 do not have.
var connectionFields = []string{"Connection", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te", "Http2-Settings"}

// shortened returns a text, or where it is long its beginning and end.
func shortened(text string) string {
	text = fmt.Sprintf("%q", text)
	text = strings.ReplaceAll(text, `\r\n`, "\\r\\n\n")
	if len(text) <= 1500 {
		return text
	}
	return fmt.Sprintf("%s … (%d bytes in all) … %s", text[:1000], len(text), text[len(text)-300:])
}
