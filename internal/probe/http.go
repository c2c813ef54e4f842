package probe

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

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
	a, err := p.ask(ctx, scheme)
	if err != nil {
		p.show(Step{Name: name, Detail: inShort(err), Milliseconds: took(start)})
		return trial{made: true, err: err}
	}
	p.show(Step{Name: name, OK: a.refusal == diagnose.Unknown, Detail: a.String(), Milliseconds: took(start)})
	return trial{made: true, answer: &a}
}

// ask makes a request for / over a connection of its own, and follows no redirect.
func (p *Prober) ask(ctx context.Context, scheme string) (answer, error) {
	t := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
		TLSClientConfig:   p.tlsConfig(false),
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}
	defer t.CloseIdleConnections()
	target := url.URL{Scheme: scheme, Host: net.JoinHostPort(p.tlsConfig(false).ServerName, p.port), Path: "/"}
	if p.network == "unix" {
		target.Host = "localhost"
	}
	if scheme == address.H2C {
		target.Scheme = address.HTTP
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
	defer res.Body.Close()

	a := answer{status: res.Proto + " " + res.Status, server: res.Header.Get("Server"), location: res.Header.Get("Location")}
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
