package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// maxHeader is how much of a response's header is read, in bytes.
const maxHeader = 256 << 10

// answer is a response as far as a probe looks at it.
type answer struct {
	status   string // with the version of HTTP
	server   string // what it says it is
	location string
	refusal  diagnose.Cause // a response that says that this is the wrong way to ask
}

// request makes one request the way Caddy would on behalf of a browser that came by
// HTTPS, and shows it as a step.
func (p *Prober) request(ctx context.Context, name, scheme string) trial {
	start := time.Now()
	a, err := within(ctx, func() (answer, error) { return p.ask(ctx, scheme) })
	if f := p.proxies[address.HTTP]; err != nil && f != nil && !f.isSocks() && scheme != address.HTTPS && diagnose.Of(err) != diagnose.ProxyFailed {
		err = f.failed(err) // an HTTP proxy reports an upstream's failure in a response
	}
	if err != nil {
		p.show(Step{Name: name, Detail: inShort(err), Milliseconds: took(start)})
		return trial{made: true, err: err}
	}
	p.show(Step{Name: name, OK: a.refusal == diagnose.Unknown, Detail: a.String(), Milliseconds: took(start)})
	return trial{made: true, answer: &a}
}

// ask makes a request for / over a connection of its own, and follows no redirect.
func (p *Prober) ask(ctx context.Context, scheme string) (answer, error) {
	target := url.URL{Scheme: scheme, Host: net.JoinHostPort(p.tlsConfig(false).ServerName, p.port), Path: "/"}
	if p.network == "unix" {
		target.Host = "localhost"
	}
	if scheme == address.H2C {
		target.Scheme = address.HTTP
	}
	var opened conns
	defer opened.close()
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return opened.add(p.dial(ctx, target.Scheme))
		},
		TLSClientConfig:        p.tlsConfig(false),
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeader,
	}
	defer t.CloseIdleConnections()
	through := p.proxies[target.Scheme]
	if through != nil && target.Scheme == address.HTTP && !through.isSocks() {
		t.Proxy = http.ProxyURL(through.url)
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return opened.add(new(net.Dialer).DialContext(ctx, "tcp", through.address()))
		}
	}
	if scheme == address.H2C {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", "caddy-proxyos-probe")
	req.Header.Set("X-Forwarded-Proto", "https")
	req.Header.Set("X-Forwarded-Host", req.URL.Host)
	req.Header.Set("Via", "1.1 Caddy")
	res, err := t.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	if t.Proxy != nil && isOfProxy(res) {
		_ = res.Body.Close()
		return answer{}, through.failed(errors.New("it answers " + printable.Short(res.Status)))
	}
	defer res.Body.Close()

	a := answer{
		status:   printable.Short(res.Proto + " " + res.Status),
		server:   printable.Short(res.Header.Get("Server")),
		location: printable.Short(res.Header.Get("Location")),
	}
	switch {
	case res.StatusCode == http.StatusBadRequest:
		a.refusal = diagnose.OfRefusal(diagnose.Peek(res))
	case scheme != address.HTTPS && leadsToHTTPS(res):
		a.refusal = diagnose.RedirectLoop
	}
	return a, nil
}

// leadsToHTTPS tells whether a response sends the client to the same host by HTTPS,
// although the request says that the client came by HTTPS.
func leadsToHTTPS(res *http.Response) bool {
	location, err := res.Location()
	return err == nil && res.StatusCode/100 == 3 && location.Scheme == address.HTTPS &&
		strings.EqualFold(location.Hostname(), res.Request.URL.Hostname())
}

// conns are connections that end together, however busy the server keeps them.
type conns struct {
	mu     sync.Mutex
	open   []net.Conn
	closed bool
}

// add adds a connection that was opened, or returns the error.
func (c *conns) add(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	c.open = append(c.open, conn)
	return conn, nil
}

func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.open {
		_ = conn.Close()
	}
}

func (a answer) String() string {
	text := a.status
	if a.location != "" {
		text += ", to " + a.location
	}
	if a.server != "" {
		text += ", server " + a.server
	}
	return text
}
