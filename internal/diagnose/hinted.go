package diagnose

import "net"

// WithHint adds a hint to the text of an error. Whatever can be asked of the error with
// errors.Is and errors.As can still be asked. The result is a net.Error, without unwrapping, if
// and only if the error is one.
func WithHint(err error, hint string) error {
	hinted := hintedError{err, hint}
	if inner, ok := err.(net.Error); ok { //nolint:errorlint // what is inside must not count
		return &hintedNetError{hinted, inner}
	}
	return &hinted
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

// Interface guards
var (
	_ error     = (*hintedError)(nil)
	_ net.Error = (*hintedNetError)(nil)
)
