package h1

import (
	"io"
	"net/http"
	"sync/atomic"
)

// requestBody is the body of a request, which remembers what has become of it.
type requestBody struct {
	io.ReadCloser
	touched atomic.Bool // read from or closed
	closed  atomic.Bool
	ended   bool  // read to its end
	failure error // of reading it
}

// track returns the request with a body that is tracked, unless it has none.
func track(req *http.Request) (*http.Request, *requestBody) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	return withBody(req, req.Body)
}

func withBody(req *http.Request, body io.ReadCloser) (*http.Request, *requestBody) {
	tracked := &requestBody{ReadCloser: body}
	own := *req
	own.Body = tracked
	return &own, tracked
}

// rewind returns the request with its body at its beginning. If that is not possible, the body
// is closed.
func rewind(req *http.Request, body *requestBody) (*http.Request, *requestBody, error) {
	if body == nil || !body.touched.Load() {
		return req, body, nil
	}
	_ = body.Close()
	if req.GetBody == nil {
		return nil, nil, errCannotRewind
	}
	again, err := req.GetBody()
	if err != nil {
		return nil, nil, err
	}
	req, body = withBody(req, again)
	return req, body, nil
}

// Read reads, and notes the end.
func (b *requestBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.ended = true
	case err != nil && b.failure == nil:
		b.failure = err
	}
	return n, err
}

// Close closes the body once.
func (b *requestBody) Close() error {
	b.touched.Store(true)
	if b.closed.Swap(true) {
		return nil
	}
	return b.ReadCloser.Close()
}

// Interface guard
var _ io.ReadCloser = (*requestBody)(nil)
