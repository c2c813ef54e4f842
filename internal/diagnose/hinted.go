package diagnose

import "net"

// WithHint adds a hint to the text of an error. errors.Is and errors.As give the same answers as
// before. The result is a net.Error, without unwrapping, if and only if the error is one.
func WithHint(err error, hint string) error {
	hinted := hintedError{err, hint}
	if inner, ok := err.(net.Error); ok { //nolint:errorlint // a net.Error inside must not count
		return &hintedNetError{hinted, inner}
	}
	return &hinted
}

// hintedError is an error with a hint.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() + "; hint: " + e.hint }

func (e *hintedError) Unwrap() error { return e.err }

// hintedNetError is a hintedError for an error that is a net.Error itself. reverse_proxy looks
// for one without unwrapping.
type hintedNetError struct {
	hintedError
	inner net.Error
}

func (e *hintedNetError) Timeout() bool { return e.inner.Timeout() }

// Temporary is a deprecated part of net.Error.
func (e *hintedNetError) Temporary() bool {
	temporary, ok := e.inner.(interface{ Temporary() bool })
	return ok && temporary.Temporary()
}

// Interface guards
var (
	_ error     = (*hintedError)(nil)
	_ net.Error = (*hintedNetError)(nil)
)
