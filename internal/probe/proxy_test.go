package probe

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// appName is a name that only proxies know.
const appName = "app.invalid"

// backend is an app that is reached only through proxies, by HTTP and by HTTPS.
type backend struct {
	plain, secure string // addresses
	roots         *x509.CertPool
}

func startBackend(t *testing.T) backend {
	t.Helper()
	authority := proxytest.NewAuthority(t)
	plain, secure := proxytest.Listen(t, ""), proxytest.Listen(t, "")
	proxytest.Serve(t, plain, nil)
	proxytest.Serve(t, secure, proxytest.Serving(authority.Issue(t, appName)))
	return backend{plain: plain.Addr().String(), secure: secure.Addr().String(), roots: authority.Pool()}
}

// dial connects to the app for a proxy that was asked for it by name.
func (b backend) dial(target string) (net.Conn, error) {
	if strings.HasSuffix(target, ":443") {
		return net.Dial("tcp", b.secure)
	}
	return net.Dial("tcp", b.plain)
}

func splice(a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	go func() {
		_, _ = io.Copy(a, b)
		_ = a.Close()
	}()
	_, _ = io.Copy(b, a)
}

// httpProxy starts an HTTP proxy that demands a password if one is given.
func (b backend) httpProxy(t *testing.T, password string) string {
	t.Helper()
	return proxytest.NewRawServer(t, func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		user, given, _ := (&http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}).BasicAuth()
		if password != "" && (given != password || user != "me") {
			_, _ = io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		app, err := b.dial(req.URL.Host)
		if err != nil {
			return
		}
		if req.Method == http.MethodConnect {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 Connected\r\n\r\n")
		} else {
			_ = req.Write(app)
		}
		splice(app, conn)
	}).Addr
}

// socksProxy starts a SOCKS5 proxy, which answers with a code.
func (b backend) socksProxy(t *testing.T, code byte) string {
	t.Helper()
	return proxytest.NewRawServer(t, func(conn net.Conn) {
		head := make([]byte, 2)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		_, _ = io.ReadFull(conn, make([]byte, head[1]))
		_, _ = conn.Write([]byte{5, 0})
		request := make([]byte, 5)
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		rest := make([]byte, int(request[4])+2)
		if _, err := io.ReadFull(conn, rest); err != nil {
			return
		}
		target := fmt.Sprintf("%s:%d", rest[:request[4]], binary.BigEndian.Uint16(rest[request[4]:]))
		_, _ = conn.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
		if code != 0 {
			return
		}
		if app, err := b.dial(target); err == nil {
			splice(app, conn)
		}
	}).Addr
}

// probeThrough probes an address where the environment names a proxy.
func probeThrough(t *testing.T, written, proxy string, roots *x509.CertPool) (steps []Step, verdict Verdict) {
	t.Helper()
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("HTTPS_PROXY", proxy)
	a, err := address.Parse(written)
	if err != nil {
		t.Fatal(err)
	}
	scheme := a.Scheme
	if scheme == "" {
		scheme = address.HTTP
	}
	p := &Prober{
		Target: Target{Upstream: diagnose.Upstream{Address: a, Scheme: scheme}, Verify: true}, Timeout: time.Second, Roots: roots,
		Proxy:    func(*http.Request) (*url.URL, error) { return url.Parse(proxy) },
		Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }},
		Show:     func(s Step) { steps = append(steps, s) },
	}
	start := time.Now()
	verdict = p.Run(t.Context()).Judge()
	if took := time.Since(start); took > p.Timeout+2*time.Second {
		t.Errorf("took %v", took)
	}
	t.Logf("%+v\n%+v", steps, verdict)
	return steps, verdict
}

func TestUpstreamsBehindAProxyAreProbedThroughIt(t *testing.T) {
	b := startBackend(t)
	for name, proxy := range map[string]string{
		"an HTTP proxy":                 "http://" + b.httpProxy(t, ""),
		"an HTTP proxy with a password": "http://me:secret@" + b.httpProxy(t, "secret"),
		"a SOCKS proxy":                 "socks5://" + b.socksProxy(t, 0),
		"a SOCKS proxy that resolves":   "socks5h://" + b.socksProxy(t, 0),
	} {
		for _, written := range []string{appName, "http://" + appName, "https://" + appName} {
			t.Run(name+", "+written, func(t *testing.T) {
				steps, verdict := probeThrough(t, written, proxy, b.roots)
				if !verdict.Works || verdict.Caddyfile != "proxyos "+written {
					t.Errorf("judged %+v", verdict)
				}
				if steps[0].Name != "proxy" || !steps[0].OK || !strings.Contains(steps[0].Detail, "_PROXY") {
					t.Errorf("the first step is %+v", steps[0])
				}
				if text := fmt.Sprint(steps, verdict); strings.Contains(text, "secret") {
					t.Errorf("the password is shown: %s", text)
				}
			})
		}
	}
}

func TestAProxyThatFailsIsNamed(t *testing.T) {
	b := startBackend(t)
	says := func(text string) string {
		return "http://" + proxytest.NewRawServer(t, func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, text)
		}).Addr
	}
	for name, c := range map[string]struct{ proxy, says string }{
		"nothing listens":        {"http://" + proxytest.Refused(t), "nothing listens there"},
		"nothing listens, SOCKS": {"socks5://" + proxytest.Refused(t), "nothing listens there"},
		"wants a password":       {"http://" + b.httpProxy(t, "secret"), "407 Proxy Authentication Required"},
		"forbids it":             {says("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), "502 Bad Gateway"},
		"answers in evil":        {says("HTTP/1.1 503 \x1b[31m\u202e\r\nContent-Length: 0\r\n\r\n"), `503 \x1b[31m\u202e`},
		"closes":                 {says(""), "the proxy closes the connection"},
		"hangs": {"http://" + proxytest.NewRawServer(t, proxytest.Hang).Addr,
			"the proxy does not answer in time"},
		"sends headers without an end": {"http://" + proxytest.NewRawServer(t, func(conn net.Conn) {
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(conn, strings.Repeat("X-More: yes\r\n", 1000))
			}
		}).Addr, ""},
		"does not speak TLS": {"https://" + proxytest.NewRawServer(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }).Addr,
			"the proxy does not speak TLS"},
		"has a certificate that is not trusted": {"https://" + b.secure, "the certificate of the proxy is not accepted"},
		"SOCKS that does not get there":         {"socks5://" + b.socksProxy(t, 4), "host unreachable"},
	} {
		for _, written := range []string{"http://" + appName, "https://" + appName} {
			t.Run(name+", "+written, func(t *testing.T) {
				_, verdict := probeThrough(t, written, c.proxy, b.roots)
				variable := "HTTP_PROXY"
				if strings.HasPrefix(written, "https") {
					variable = "HTTPS_PROXY"
				}
				if verdict.Works || verdict.Cause != diagnose.ProxyFailed || !strings.Contains(verdict.Text, c.says) ||
					!strings.Contains(verdict.Text, "the proxy "+c.proxy+" ("+variable+")") || !strings.Contains(verdict.Text, "add "+appName+" to NO_PROXY") {
					t.Errorf("judged %+v, want %q", verdict, c.says)
				}
			})
		}
	}
}
