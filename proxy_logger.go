package proxyos

import (
	"reflect"
	"unsafe"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// lazyCore puts off what is logged with each entry until there is an entry. reverse_proxy makes a
// logger for each request, with the whole request in it, which only entries at the level DEBUG and
// a few errors ever need: a fifth of all that it does for a request.
type lazyCore struct{ zapcore.Core }

// With implements zapcore.Core.
func (c lazyCore) With(fields []zapcore.Field) zapcore.Core {
	return zapcore.NewLazyWith(c.Core, fields)
}

// loggerField is where reverse_proxy has its logger; hasLogger is false if it is not where it was,
// in a Caddy that is not known yet. It cannot be given one.
var loggerField, hasLogger = func() (uintptr, bool) {
	field, ok := reflect.TypeFor[reverseproxy.Handler]().FieldByName("logger")
	return field.Offset, ok && len(field.Index) == 1 && field.Type == reflect.TypeFor[*zap.Logger]()
}()

// loggerOf returns the place of a reverse proxy's logger. Only if hasLogger.
func loggerOf(proxy *reverseproxy.Handler) **zap.Logger {
	return (**zap.Logger)(unsafe.Add(unsafe.Pointer(proxy), loggerField))
}

// logLazily makes the logger of a reverse proxy a lazy one, if it has it already.
func logLazily(proxy *reverseproxy.Handler) {
	if !hasLogger {
		return
	}
	if logger := loggerOf(proxy); *logger != nil {
		*logger = (*logger).WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return lazyCore{core} }))
	}
}

// RequestHeaderOps is asked for by the reverse proxy while it is provisioned: after it has its
// logger, and before its health checks begin, after which a write to the logger would be a race.
// It returns nil, since what a request's header needs depends on the upstream.
func (t *transport) RequestHeaderOps() *headers.HeaderOps {
	logLazily(t.proxy)
	return nil
}

// Interface guard
var _ reverseproxy.RequestHeaderOpsTransport = (*transport)(nil)
