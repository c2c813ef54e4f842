package faults

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// halfway is a body that goes on in some way after half of it.
type halfway struct {
	half io.Reader
	goOn func() error
}

func (h *halfway) Read(p []byte) (int, error) {
	if n, _ := h.half.Read(p); n > 0 {
		return n, nil
	}
	return 0, h.goOn()
}

// http3ly sends half a body over HTTP/3, and goes on. The length is announced, unless it is negative. It returns
// the status of the answer, or how there was none.
func http3ly(t *testing.T, addr, method string, length int64, goOn func(leave func()) error) string {
	t.Helper()
	client := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer client.Close()
	ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
	defer leave()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+addr, &halfway{strings.NewReader("half"), func() error { return goOn(leave) }})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = length
	res, err := client.RoundTrip(req)
	switch _, isReset := errors.AsType[*http3.Error](err); {
	case errors.Is(err, context.Canceled):
		return ""
	case isReset:
		return "reset"
	case err != nil:
		t.Fatal(err)
	}
	res.Body.Close()
	return fmt.Sprint("HTTP/3 ", res.StatusCode)
}

// Over HTTP/3 a body that is shorter than announced just ends, without an error.
func TestNothingThatAClientDoesOverHTTP3IsHeldAgainstAnUpstream(t *testing.T) {
	ends := func(func()) error { return io.EOF }
	leaves := func(leave func()) error {
		time.Sleep(50 * time.Millisecond) // until the request has arrived
		leave()
		return context.Canceled
	}
	deeds := []struct {
		name, wants string
		method      string
		length      int64
		goOn        func(leave func()) error
	}{
		{"ends a body too early", "400", http.MethodPost, 20, ends},
		{"ends the body of a GET too early", "400", http.MethodGet, 20, ends},
		{"sends a body of unknown length", "200", http.MethodPost, -1, ends},
		{"sends all that it says", "200", http.MethodPost, 4, ends},
		{"resets its body", "reset 400 499", http.MethodPost, 20, func(func()) error { return errors.New("reset") }},
		{"leaves in its body", "", http.MethodPost, 20, leaves},
		{"leaves in a body of unknown length", "", http.MethodPost, -1, leaves},
	}
	certFile, keyFile := proxytest.WriteCertificate(t, proxytest.SelfSigned(t, "127.0.0.1"))
	for _, options := range []string{"fast_path on", "fast_path off", "fast_path on\nrequest_buffers 1MB", "fast_path off\nrequest_buffers 1MB"} {
		t.Run(strings.ReplaceAll(options, "\n", ", "), func(t *testing.T) {
			var whole atomic.Int64 // bodies that look so to an upstream
			var addrs []string
			for i := range 3 {
				b := plain(t, fmt.Sprint("innocent ", i), "")
				b.Answer(func(_ http.ResponseWriter, r *http.Request) {
					if n, err := io.Copy(io.Discard, r.Body); n > 0 && err == nil {
						whole.Add(1)
					}
				})
				addrs = append(addrs, b.Addr)
			}
			s, addr := newServer(t), freeAddr(t)
			s.MustLoad("https://" + addr + " {\ntls " + certFile + " " + keyFile + "\nproxyos " + strings.Join(addrs, " ") + " {\nname app\n" + options + "\n}\n}")
			for _, deed := range deeds {
				for range 6 { // as often as would take all upstreams out
					whole.Store(0)
					began := time.Now()
					got := http3ly(t, addr, deed.method, deed.length, deed.goOn)
					if took := time.Since(began); !isOneOf(got, deed.wants) || took > 5*time.Second {
						t.Errorf("%s: it gets %q after %s, want one of %q", deed.name, got, took, deed.wants)
					}
					if isWhole := whole.Load() > 0; isWhole != (deed.wants == "200") {
						t.Errorf("%s: an upstream sees a whole body: %v", deed.name, isWhole)
					}
				}
				eventually(t, "no request is in flight", func() bool { return inFlight(s.Route()) == 0 })
				allUp(t, s)
			}
		})
	}
}

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

func TestABodyThatAHandlerShortensIsNoUpstreamsFault(t *testing.T) {
	for _, options := range []string{"fast_path on", "fast_path off", "fast_path on\nrequest_buffers 1MB"} {
		t.Run(strings.ReplaceAll(options, "\n", ", "), func(t *testing.T) {
			s := run(t, "shorten\nproxyos "+plain(t, "innocent", "").Addr+" {\nname app\n"+options+"\n}")
			for range 3 {
				if got := rawly("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nfull", reads)(t, s.Addr, "none"); !isOneOf(got, "400") {
					t.Errorf("it gets %q", got)
				}
			}
			allUp(t, s)
		})
	}
}

// Interface guard
var _ caddyhttp.MiddlewareHandler = shortener{}
