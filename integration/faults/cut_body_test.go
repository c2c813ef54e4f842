package faults

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(shortener{})
	httpcaddyfile.RegisterHandlerDirective("shorten", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return shortener{}, nil })
	httpcaddyfile.RegisterDirectiveOrder("shorten", httpcaddyfile.Before, "respond")
}

// shortener is a handler that leaves the announced length of a body as it is, and lets only some of it through.
type shortener struct{}

// CaddyModule returns the Caddy module information.
func (shortener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.shorten", New: func() caddy.Module { return new(shortener) }}
}

func (shortener) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r.Body, 2), r.Body}
	return next.ServeHTTP(w, r)
}

// Some of a body may have been read before it comes to a route: by a handler, by a placeholder, or by the upstream
// whose answer the route handles. That is neither the client's fault nor an upstream's.
func TestABodyThatWasReadOnThisSideIsNobodysFault(t *testing.T) {
	for name, directives := range map[string]string{
		"a handler":               "shorten\nproxyos UPSTREAM {\nname app\n}",
		"a handler, slow way":     "shorten\nproxyos UPSTREAM {\nname app\nfast_path off\n}",
		"a handler, and buffers":  "shorten\nproxyos UPSTREAM {\nname app\nrequest_buffers 1MB\n}",
		"a placeholder":           "proxyos UPSTREAM {\nname app\nheader_up X-Body {http.request.body}\n}",
		"the upstream before":     "proxyos BEFORE {\n@bad status 500\nhandle_response @bad {\nproxyos UPSTREAM {\nname app\n}\n}\n}",
		"reverse_proxy before it": "reverse_proxy BEFORE {\n@bad status 500\nhandle_response @bad {\nproxyos UPSTREAM {\nname app\n}\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			var whole atomic.Int64
			before := plain(t, "before", "")
			before.Answer(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusInternalServerError)
			})
			s := run(t, strings.NewReplacer("UPSTREAM", counting(t, "innocent", &whole).Addr, "BEFORE", before.Addr).Replace(directives))
			for range 3 {
				if got := rawly("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nfull", reads)(t, s.Addr, "none"); !isOneOf(got, "502") {
					t.Errorf("it gets %q", got)
				}
			}
			if whole.Load() > 0 {
				t.Errorf("%d bodies look whole", whole.Load())
			}
			if told := s.Logs.Entries("has been read in part before it came here"); len(told) != 3 {
				t.Errorf("logged is %v", told)
			}
			allUp(t, s)
		})
	}
}

// Interface guard
var _ caddyhttp.MiddlewareHandler = shortener{}
