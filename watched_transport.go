package proxyos

import (
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// watchedTransport is the transport of a plain reverse_proxy with the policy least_latency. A
// policy is only asked, and never told what came of it; the transport is where the time, the
// status and the error of each attempt are known.
type watchedTransport struct {
	http.RoundTripper
	to latencies
}

// watchTransport puts a watched transport in the place of a reverse proxy's, which has loaded its
// own before its policy, if one is configured, and keeps what it finds.
func watchTransport(ctx caddy.Context, proxy *reverseproxy.Handler, times *answerTimes) error {
	if proxy.Transport == nil {
		standard := new(reverseproxy.HTTPTransport) // as it would make it
		if err := standard.Provision(ctx); err != nil {
			return err
		}
		proxy.Transport = standard
	}
	proxy.Transport = &watchedTransport{proxy.Transport, latencies{times}}
	return nil
}

// RoundTrip makes a round trip, and measures it unless it is a health check.
func (t *watchedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	info, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok || info.Upstream == nil || req.Context().Value(caddyhttp.ServerCtxKey) == nil {
		return t.RoundTripper.RoundTrip(req)
	}
	var body *clientBody
	if req.Body != nil && req.Body != http.NoBody {
		body = &clientBody{ReadCloser: req.Body}
		body.asItIs.Store(true)
		req = req.WithContext(req.Context()) // a copy
		req.Body = body
	}
	watch := t.to.start(body)
	res, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		watch.answered(info.Upstream, res.StatusCode)
		return res, nil
	}
	seen := evidence{context: req.Context(), asked: true}
	if body != nil {
		seen.body = body.err()
	}
	whose, status := seen.blame(err)
	watch.failed(info.Upstream, whose, status)
	return nil, err
}

// RequestHeaderOps returns what the transport does to headers; nil if it does nothing.
func (t *watchedTransport) RequestHeaderOps() *headers.HeaderOps {
	if inner, ok := t.RoundTripper.(reverseproxy.RequestHeaderOpsTransport); ok {
		return inner.RequestHeaderOps()
	}
	return nil
}

// ProxyProtocolEnabled tells whether the transport speaks the PROXY protocol.
func (t *watchedTransport) ProxyProtocolEnabled() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ProxyProtocolTransport)
	return ok && inner.ProxyProtocolEnabled()
}

// RequiresContentLength tells whether the transport needs to know the length of a body.
func (t *watchedTransport) RequiresContentLength() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ContentLengthRequiredTransport)
	return ok && inner.RequiresContentLength()
}

// OverrideHealthCheckScheme sets the scheme of a health check, if the transport does.
func (t *watchedTransport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if inner, ok := t.RoundTripper.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		inner.OverrideHealthCheckScheme(base, port)
	}
}

// Interface guards
var (
	_ http.RoundTripper                                = (*watchedTransport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*watchedTransport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*watchedTransport)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*watchedTransport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*watchedTransport)(nil)
)
