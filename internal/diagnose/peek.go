package diagnose

import (
	"bytes"
	"io"
	"net/http"
)

// refusalSize is how much of a response with status 400 to read.
const refusalSize = 1024

// Peek returns the beginning of a small response body, at most 1 KiB. The body, which it
// replaces in res, can still be read in full. The result is empty for a body that is larger than
// 4 KiB, compressed, or in chunks, which may be a stream or have trailers. Peek waits only for what the client would wait for,
// too.
func Peek(res *http.Response) string {
	small := res.ContentLength > 0 && res.ContentLength <= 4*refusalSize || res.ContentLength < 0 && res.Close && len(res.TransferEncoding) == 0
	if !small || res.Header.Get("Content-Encoding") != "" {
		return ""
	}
	beginning := make([]byte, refusalSize)
	n, err := res.Body.Read(beginning)
	res.Body = &peekedBody{Closer: res.Body, Reader: io.MultiReader(bytes.NewReader(beginning[:n]), &rest{res.Body, err})}
	return string(beginning[:n])
}

// peekedBody is a response body whose beginning has been read.
type peekedBody struct {
	io.Reader
	io.Closer
}

// rest continues where another reader stopped, perhaps with an error.
type rest struct {
	io.Reader
	err error
}

func (r *rest) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.Reader.Read(p)
}

// Interface guard
var _ io.ReadCloser = (*peekedBody)(nil)
