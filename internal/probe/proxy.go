package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// forwarder is the proxy that Caddy goes through to an upstream in one scheme.
type forwarder struct {
	url      *url.URL
	variable string // the environment variable that names it
}

// forwarder returns the proxy that Caddy would go through in a scheme; nil for none.
func (p *Prober) forwarder(scheme string) (*forwarder, error) {
	if p.network == "unix" {
		return nil, nil
	}
	find := p.Proxy
	if find == nil {
		find = http.ProxyFromEnvironment
	}
	found, variable, err := diagnose.ProxyFor(find, scheme, p.host, p.port)
	if found == nil {
		return nil, err
	}
	return &forwarder{found, variable}, nil
}

// findForwarders finds the proxies that Caddy would go through. It fails only for the target's own
// scheme. If it cannot find the proxy of another scheme, that is tried without one.
func (p *Prober) findForwarders() (failed error) {
	p.proxies = make(map[string]*forwarder)
	for _, scheme := range []string{address.HTTP, address.HTTPS} {
		found, err := p.forwarder(scheme)
		p.proxies[scheme] = found
		if err != nil && (scheme == address.HTTPS) == (p.Target.Scheme == address.HTTPS) {
			failed = err
		}
	}
	return failed
}

// forwarderOfTarget returns the proxy for the target's own scheme.
func (p *Prober) forwarderOfTarget() *forwarder {
	if p.Target.Scheme == address.HTTPS {
		return p.proxies[address.HTTPS]
	}
	return p.proxies[address.HTTP]
}

// failed adds the proxy to an error.
func (f *forwarder) failed(err error) error {
	return &diagnose.ProxyError{Proxy: f.url, Variable: f.variable, Err: err}
}

// isSocks tells whether the proxy speaks SOCKS. Then it forwards connections for every scheme.
func (f *forwarder) isSocks() bool { return strings.HasPrefix(f.url.Scheme, "socks5") }

// address returns the address of the proxy itself.
func (f *forwarder) address() string {
	port := f.url.Port()
	switch {
	case port != "":
	case f.url.Scheme == address.HTTPS:
		port = "443"
	case f.isSocks():
		port = "1080"
	default:
		port = "80"
	}
	return net.JoinHostPort(f.url.Hostname(), port)
}

// connect connects to the proxy itself.
func (f *forwarder) connect(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.address())
	if err != nil || f.url.Scheme != address.HTTPS {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{ServerName: f.url.Hostname()})
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// tunnel connects to an address through the proxy. Its errors name the proxy.
func (f *forwarder) tunnel(ctx context.Context, target string) (net.Conn, error) {
	if f.isSocks() {
		conn, err := f.socks(ctx, target)
		if err != nil {
			return nil, f.failed(err)
		}
		return conn, nil
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return nil, f.failed(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := f.ask(conn, target); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, f.failed(err)
	}
	return conn, nil
}

// ask asks an HTTP proxy to connect to an address.
func (f *forwarder) ask(conn net.Conn, target string) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: make(http.Header)}
	if f.url.User != nil {
		password, _ := f.url.User.Password()
		req.SetBasicAuth(f.url.User.Username(), password)
		req.Header["Proxy-Authorization"] = req.Header["Authorization"]
		req.Header.Del("Authorization")
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxHeader)), req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New("it answers " + printable.Short(res.Status))
	}
	return nil
}

// socks connects to an address through a SOCKS proxy.
func (f *forwarder) socks(ctx context.Context, target string) (net.Conn, error) {
	var auth *proxy.Auth
	if f.url.User != nil {
		password, _ := f.url.User.Password()
		auth = &proxy.Auth{User: f.url.User.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", f.address(), auth, nil)
	if err != nil {
		return nil, err
	}
	return dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", target)
}

// tryForwarder connects through the proxy, as far as that is possible without a request.
func (p *Prober) tryForwarder(ctx context.Context, f *forwarder) error {
	start := time.Now()
	name := diagnose.ProxyName(f.url, f.variable)
	var conn net.Conn
	var err error
	detail := name
	if p.Target.Scheme == address.HTTPS || f.isSocks() {
		conn, err = f.tunnel(ctx, p.target)
		detail += " connects to " + p.target
	} else if conn, err = f.connect(ctx); err != nil {
		err = f.failed(err)
	}
	if err != nil {
		p.show(Step{Name: "proxy", Detail: inShort(err), Milliseconds: took(start)})
		return err
	}
	_ = conn.Close()
	p.show(Step{Name: "proxy", OK: true, Detail: detail, Milliseconds: took(start)})
	return nil
}

// isOfProxy tells whether a response came from the HTTP proxy itself, which did not reach the
// upstream.
func isOfProxy(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusProxyAuthRequired, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return res.Header.Get("X-Squid-Error") != ""
}
