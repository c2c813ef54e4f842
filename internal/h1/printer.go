package h1

import (
	"bufio"
	"io"
	"strings"
)

// chunkedField is what Request.Write writes in one piece if it sends the body in chunks. A field
// that a caller has put into the header is not sent by that name.
const chunkedField = "Transfer-Encoding: chunked\r\n"

// printer is what Request.Write writes to. It knows the end of the header by the empty line, and
// does there what http.Transport can do and others cannot: add fields that are not the caller's,
// and wait until the server wants the body.
type printer struct {
	out     *bufio.Writer
	extra   string       // fields to add to the header
	hasBody bool         // something follows the header
	proceed func() error // asked before the body is sent; may be nil

	atLineStart bool // in the header
	inBody      bool
	chunked     bool
}

// start begins another request.
func (p *printer) start(extra string, hasBody bool, proceed func() error) {
	*p = printer{out: p.out, extra: extra, hasBody: hasBody, proceed: proceed}
}

// Write writes, and a body at once: whoever sends it may wait for an answer to what is sent.
func (p *printer) Write(text []byte) (int, error) {
	n, err := p.out.Write(text)
	if p.inBody && !p.chunked && err == nil {
		err = p.out.Flush()
	}
	if n > 0 {
		p.atLineStart = text[n-1] == '\n'
	}
	return n, err
}

// WriteString is Write. A line's end alone ends the header where a line begins, and a chunk
// within a body.
func (p *printer) WriteString(text string) (int, error) {
	if text == "\r\n" && (p.inBody || p.atLineStart) {
		return len(text), p.endPart()
	}
	if !p.inBody && text == chunkedField {
		p.chunked = true
	}
	n, err := p.out.WriteString(text)
	if text != "" {
		p.atLineStart = strings.HasSuffix(text, "\n")
	}
	return n, err
}

// WriteByte makes this a buffered writer to Request.Write, which otherwise makes its own.
func (p *printer) WriteByte(c byte) error {
	p.atLineStart = c == '\n'
	return p.out.WriteByte(c)
}

// endPart writes the line's end after the header or after a chunk.
func (p *printer) endPart() error {
	if !p.inBody {
		if _, err := p.out.WriteString(p.extra); err != nil {
			return err
		}
	}
	if _, err := p.out.WriteString("\r\n"); err != nil || !p.hasBody {
		return err
	}
	if err := p.out.Flush(); err != nil || p.inBody {
		return err
	}
	p.inBody = true
	if p.proceed != nil {
		return p.proceed()
	}
	return nil
}

// Interface guards
var (
	_ io.Writer       = (*printer)(nil)
	_ io.StringWriter = (*printer)(nil)
	_ io.ByteWriter   = (*printer)(nil)
)
