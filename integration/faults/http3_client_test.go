package faults

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

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

// http3ly sends "half" as a body over HTTP/3, and goes on. The length is announced, unless it is negative, and so is
// a trailer. It returns the status of the answer, or how there was none or not all of it.
func http3ly(t *testing.T, addr, method string, length int64, trailer http.Header, goOn func(*http3Client) error) string {
	t.Helper()
	client := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer client.Close()
	ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
	defer leave()
	c := &http3Client{leave: leave, answered: make(chan struct{})}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+addr, &halfway{strings.NewReader("half"), func() error { return goOn(c) }})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength, req.Trailer = length, trailer
	res, err := client.RoundTrip(req)
	close(c.answered)
	if err == nil {
		defer res.Body.Close()
	}
	switch _, isReset := errors.AsType[*http3.Error](err); {
	case errors.Is(ctx.Err(), context.Canceled): // an answer may have come all the same
		return ""
	case isReset:
		return "reset"
	case err != nil:
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		return fmt.Sprintf("HTTP/3 %d broken off", res.StatusCode)
	}
	return fmt.Sprint("HTTP/3 ", res.StatusCode)
}

// http3Client is a client that is sending its body.
type http3Client struct {
	leave    func()
	answered chan struct{} // closed when there is an answer, or there will be none
}

func ends(*http3Client) error { return io.EOF }

func endsOnceAnswered(c *http3Client) error {
	<-c.answered
	return io.EOF
}

// http3Server serves directives over HTTP/3, too, and returns where.
func http3Server(t *testing.T, directives string) (*server, string) {
	t.Helper()
	return http3ServerWith(t, "", directives)
}

// http3ServerWith is http3Server with options for the servers of Caddy.
func http3ServerWith(t *testing.T, options, directives string) (*server, string) {
	t.Helper()
	certFile, keyFile := proxytest.WriteCertificate(t, proxytest.SelfSigned(t, "127.0.0.1"))
	s, addr := newServer(t), freeAddr(t)
	s.MustLoad("{\ndefault_sni 127.0.0.1\nservers {\n" + options + "\npacket_conn_wrappers {\nafter_load\n}\n}\n}\n" +
		"https://" + addr + " {\ntls " + certFile + " " + keyFile + "\n" + directives + "\n}")
	loaded.Add(1)
	return s, addr
}

func init() { caddy.RegisterModule(afterLoad{}) }

// afterLoad has the race detector see that what comes over UDP comes after a config was loaded. Caddy's TLS app may be
// started after the servers, and notes that in what each handshake reads.
type afterLoad struct{}

var loaded atomic.Int64 // configs

// CaddyModule returns the Caddy module information.
func (afterLoad) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.packetconns.after_load", New: func() caddy.Module { return new(afterLoad) }}
}

// UnmarshalCaddyfile sets up the wrapper.
func (*afterLoad) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// WrapPacketConn implements caddy.PacketConnWrapper.
func (*afterLoad) WrapPacketConn(conn net.PacketConn) net.PacketConn { return afterLoadConn{conn} }

type afterLoadConn struct{ net.PacketConn }

func (c afterLoadConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(p)
	loaded.Load()
	return n, from, err
}

// counting returns an upstream that counts the bodies that look whole to it.
func counting(t *testing.T, name string, whole *atomic.Int64) *backend {
	t.Helper()
	b := plain(t, name, "")
	b.Answer(func(_ http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); n > 0 && err == nil {
			whole.Add(1)
		}
	})
	return b
}

// Over HTTP/3 a body that is shorter than announced just ends, without an error.
func TestNothingThatAClientDoesOverHTTP3IsHeldAgainstAnUpstream(t *testing.T) {
	leaves := func(c *http3Client) error {
		time.Sleep(50 * time.Millisecond) // until the request has arrived
		c.leave()
		return context.Canceled
	}
	const each = 6 // as often as would take all upstreams out
	deeds := []struct {
		name, wants string
		method      string
		length      int64
		trailer     http.Header
		goOn        func(*http3Client) error
		whole       int64
	}{
		{"ends a body too early", "400", http.MethodPost, 20, nil, ends, 0},
		{"ends a body with a trailer too early", "400", http.MethodPost, 20, http.Header{"X-Sum": {"1"}}, ends, 0},
		{"ends the body of a GET too early", "400", http.MethodGet, 20, nil, ends, 0},
		{"sends a body of unknown length", "200", http.MethodPost, -1, nil, ends, each},
		{"sends a body with a trailer", "200", http.MethodPost, 4, http.Header{"X-Sum": {"1"}}, ends, each},
		{"sends all that it says", "200", http.MethodPost, 4, nil, ends, each},
		{"resets its body", "reset 400 499", http.MethodPost, 20, nil, func(*http3Client) error { return errors.New("reset") }, 0},
		{"leaves in its body", "", http.MethodPost, 20, nil, leaves, 0},
		{"leaves in a body of unknown length", "", http.MethodPost, -1, nil, leaves, 0},
	}
	for _, options := range []string{"fast_path on", "fast_path off", "fast_path on\nrequest_buffers 1MB", "fast_path off\nrequest_buffers 1MB"} {
		t.Run(strings.ReplaceAll(options, "\n", ", "), func(t *testing.T) {
			var whole atomic.Int64
			var addrs []string
			for i := range 3 {
				addrs = append(addrs, counting(t, fmt.Sprint("innocent ", i), &whole).Addr)
			}
			s, addr := http3Server(t, "proxyos "+strings.Join(addrs, " ")+" {\nname app\n"+options+"\n}")
			for _, deed := range deeds {
				whole.Store(0)
				for range each {
					began := time.Now()
					got := http3ly(t, addr, deed.method, deed.length, deed.trailer, deed.goOn)
					if took := time.Since(began); !isOneOf(got, deed.wants) || took > 5*time.Second {
						t.Errorf("%s: it gets %q after %s, want one of %q", deed.name, got, took, deed.wants)
					}
				}
				eventually(t, "no request is in flight", func() bool { return inFlight(s.Route()) == 0 })
				eventually(t, "the whole bodies have arrived", func() bool { return whole.Load() >= deed.whole })
				if got := whole.Load(); got != deed.whole {
					t.Errorf("%s: upstreams see %d whole bodies", deed.name, got)
				}
				allUp(t, s)
			}
		})
	}
}

// A body ends while the first upstream has answered and the next one has not been asked.
func TestABodyThatEndsBetweenAttemptsIsNoUpstreamsFault(t *testing.T) {
	endsLater := func(*http3Client) error {
		time.Sleep(200 * time.Millisecond) // until the first upstream has answered, which is the point
		return io.EOF
	}
	for _, way := range []string{"on", "off"} {
		for _, trailer := range []http.Header{nil, {"X-Sum": {"1"}}} {
			t.Run(fmt.Sprintf("fast_path %s, trailer %v", way, trailer != nil), func(t *testing.T) {
				var whole, asked atomic.Int64
				var addrs []string
				for i := range 2 {
					b := plain(t, fmt.Sprint("innocent ", i), "")
					b.Answer(func(w http.ResponseWriter, r *http.Request) {
						_ = http.NewResponseController(w).EnableFullDuplex()
						if asked.Add(1) == 1 {
							w.WriteHeader(http.StatusServiceUnavailable)
						} else if _, err := io.Copy(io.Discard, r.Body); err == nil {
							whole.Add(1)
						}
					})
					addrs = append(addrs, b.Addr)
				}
				s, addr := http3Server(t, "proxyos "+strings.Join(addrs, " ")+" {\nname app\nfast_path "+way+
					"\nlb_retries 2\nlb_try_interval 500ms\nlb_retry_match {\nmethod POST\nexpression `{rp.status_code} == 503`\n}\n}")
				if got := http3ly(t, addr, http.MethodPost, 20, trailer, endsLater); !isOneOf(got, "400") || whole.Load() > 0 {
					t.Errorf("it gets %q, and %d bodies look whole", got, whole.Load())
				}
				allUp(t, s)
			})
		}
	}
}

// Over HTTP/3 nobody but the client ends a body after the answer has begun, so nobody waits for more.
func TestABodyThatEndsTooEarlyAfterTheAnswerHasBegunHangsNobody(t *testing.T) {
	for _, way := range []string{"on", "off"} {
		t.Run("fast_path "+way, func(t *testing.T) {
			b := plain(t, "innocent", "")
			b.Answer(func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				_ = rc.EnableFullDuplex()
				_ = rc.Flush()
				_, _ = io.Copy(w, r.Body)
			})
			s, addr := http3Server(t, "proxyos "+b.Addr+" {\nname app\nfast_path "+way+"\n}")
			for length, wants := range map[int64]string{20: "HTTP/3 200 broken off", 4: "HTTP/3 200", -1: "HTTP/3 200"} {
				began := time.Now()
				if got := http3ly(t, addr, http.MethodPost, length, nil, endsOnceAnswered); got != wants || time.Since(began) > 5*time.Second {
					t.Errorf("with a length of %d it gets %q after %s, want %q", length, got, time.Since(began), wants)
				}
			}
			allUp(t, s)
		})
	}
}

// Over another transport failures count as in reverse_proxy, which takes such a body for whole.
func TestAShortBodyOverAnotherTransportIsWhatReverseProxyMakesOfIt(t *testing.T) {
	fcgiListener := proxytest.Listen(t, "")
	go func() {
		_ = fcgi.Serve(fcgiListener, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	}()
	for handler, own := range map[string]string{"reverse_proxy": "", "proxyos": "name app\n"} {
		t.Run(handler, func(t *testing.T) {
			s, addr := http3Server(t, handler+" "+fcgiListener.Addr().String()+" {\n"+own+"fail_duration 10s\ntransport fastcgi {\nread_timeout 2s\n}\n}")
			for range 2 {
				if got := http3ly(t, addr, http.MethodPost, 20, nil, ends); got != "HTTP/3 200" {
					t.Errorf("it gets %q", got)
				}
			}
			if own != "" {
				allUp(t, s)
			}
		})
	}
}
