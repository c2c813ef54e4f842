package proxyos

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// encodings counts how often it is encoded.
type encodings int

func (e *encodings) MarshalLogObject(zapcore.ObjectEncoder) error {
	*e++
	return nil
}

// If this fails with a new version of Caddy, requests that do not take the short way cost more.
func TestTheLoggerOfReverseProxyIsWhereItWas(t *testing.T) {
	if !hasLogger {
		t.Fatal("Caddy's reverse_proxy has no logger that is a *zap.Logger")
	}
	logLazily(new(reverseproxy.Handler)) // which has none yet
	handler := provisionBench[*Handler](t, "http.handlers.proxyos", benchProxyos("http"))
	if _, isLazy := (*loggerOf(handler.route.proxy)).Core().(lazyCore); !isLazy {
		t.Error("the route's reverse proxy encodes each request for its log")
	}
}

func TestWhatEachEntryHasIsEncodedWithTheFirst(t *testing.T) {
	var log strings.Builder
	config := zapcore.EncoderConfig{MessageKey: "msg", NameKey: "logger", EncodeName: zapcore.FullNameEncoder}
	var proxy reverseproxy.Handler
	*loggerOf(&proxy) = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.AddSync(&log), zapcore.InfoLevel)).Named("proxy")
	logLazily(&proxy)
	var encoded encodings
	logger := (*loggerOf(&proxy)).With(zap.String("upstream", "a:80"), zap.Inline(&encoded))
	logger.Debug("selected")
	if encoded != 0 || log.Len() != 0 {
		t.Fatalf("for nothing, %d encodings, and %q is logged", encoded, log.String())
	}
	logger.With(zap.Int("status", 200)).Info("one")
	logger.Info("two")
	const want = `{"logger":"proxy","msg":"one","upstream":"a:80","status":200}` + "\n" + `{"logger":"proxy","msg":"two","upstream":"a:80"}` + "\n"
	if encoded != 1 || log.String() != want {
		t.Errorf("%d encodings, and logged is\n%swant\n%s", encoded, log.String(), want)
	}
}
