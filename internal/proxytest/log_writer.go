package proxytest

import (
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(logWriter{})
}

// logWriter is the Caddy log writer "proxytest": it writes to the logbook of the Caddy that
// runs when the log is opened.
type logWriter struct{}

// CaddyModule returns the Caddy module information.
func (logWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.proxytest",
		New: func() caddy.Module { return new(logWriter) },
	}
}

func (logWriter) String() string { return "proxytest" }

// WriterKey tells the logs of one Caddy from those of the next, which may be open at the
// same time.
func (logWriter) WriterKey() string {
	if c := running.Load(); c != nil {
		return fmt.Sprintf("proxytest:%d", c.number)
	}
	return "proxytest"
}

// OpenWriter returns the logbook of the Caddy that runs.
func (logWriter) OpenWriter() (io.WriteCloser, error) {
	if c := running.Load(); c != nil {
		return nopCloser{c.Logs}, nil
	}
	return nopCloser{io.Discard}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

var _ caddy.WriterOpener = logWriter{}
