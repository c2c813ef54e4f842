package proxyos

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// hintInterval is how often the same hint for an upstream is logged, at most.
	hintInterval = time.Minute

	// maxHints is how many hints the interval is kept for; dynamic sources may bring more
	// upstreams than that.
	maxHints = 1024

	// refusalSize is how much of a response with status 400 is looked at.
	refusalSize = 1024
)

// diagnostician adds hints to failed attempts. It is asked when an attempt has failed
// only, and when a response has status 400.
type diagnostician struct {
	route  string
	logger *zap.Logger
	now    func() time.Time

	mu     sync.Mutex
	logged map[hintKey]time.Time
}

// hintKey is one cause at one upstream. Another cause is worth a line at once: that a
// certificate is refused, say, after a restart has reset connections.
type hintKey struct {
	dial  string
	cause cause
}

func newDiagnostician(route string, logger *zap.Logger) *diagnostician {
	return &diagnostician{route: route, logger: logger, now: time.Now}
}

// examine looks at the outcome of an attempt at an upstream, and returns the response as
// it is, and the error with a hint for what is known to cause it.
func (d *diagnostician) examine(b backend, res *http.Response, err error) (*http.Response, error) {
	if err == nil {
		if c := causeOfRefusal(peek(res)); c != causeUnknown {
			d.log(b, c, c.hint(b, nil), nil)
		}
		return res, nil
	}
	c := causeOf(err)
	if c == causeUnknown {
		return res, err
	}
	hint := c.hint(b, err)
	if hint == "" {
		return res, err
	}
	d.log(b, c, hint, err)
	return res, withHint(err, hint)
}

// log logs an upstream's hint, unless the same has been logged a short while ago.
func (d *diagnostician) log(b backend, c cause, hint string, err error) {
	if !d.isDue(hintKey{b.dial, c}) {
		return
	}
	fields := []zap.Field{zap.String("upstream", b.address.String()), zap.String("route", d.route), zap.String("hint", hint)}
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	d.logger.Warn("an upstream does not answer as it should", fields...)
}

func (d *diagnostician) isDue(key hintKey) bool {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, ok := d.logged[key]; ok && now.Sub(last) < hintInterval {
		return false
	}
	if d.logged == nil || len(d.logged) >= maxHints {
		d.logged = make(map[hintKey]time.Time)
	}
	d.logged[key] = now
	return true
}

// peek returns the beginning of a small response body, which it leaves as it was. It waits
// for nothing that the client would not have to wait for, too.
func peek(res *http.Response) string {
	small := res.ContentLength > 0 && res.ContentLength <= 4*refusalSize || res.ContentLength < 0 && res.Close
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

// rest reads on where another reader stopped, perhaps with an error.
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

// hintedError is an error with a hint. What can be asked of the error inside with
// errors.Is and errors.As can be asked of it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() + "; hint: " + e.hint }

func (e *hintedError) Unwrap() error { return e.err }

// hintedNetError is a hintedError for an error that is a net.Error itself, which
// reverse_proxy asks without unwrapping.
type hintedNetError struct {
	hintedError
	inner net.Error
}

func (e *hintedNetError) Timeout() bool { return e.inner.Timeout() }

// Temporary is part of net.Error, though nobody should ask any more.
func (e *hintedNetError) Temporary() bool {
	temporary, ok := e.inner.(interface{ Temporary() bool })
	return ok && temporary.Temporary()
}

// withHint adds a hint to an error. It is a net.Error if, and only if, the error is one.
func withHint(err error, hint string) error {
	hinted := hintedError{err, hint}
	if inner, ok := err.(net.Error); ok { //nolint:errorlint // what is inside must not count
		return &hintedNetError{hinted, inner}
	}
	return &hinted
}

// Interface guards
var (
	_ error         = (*hintedError)(nil)
	_ net.Error     = (*hintedNetError)(nil)
	_ io.ReadCloser = (*peekedBody)(nil)
)
