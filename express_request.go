package proxyos

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// prepare makes the request for the upstream, as reverse_proxy's prepareRequest does:
//
//	in prepareRequest       here
//	cloneRequest            one shallow copy, with its context; the URL is a field of the trip
//	rewrite, buffers        not plain
//	body, trailers          there are none: ContentLength is 0, which makes the body nil there, too
//	User-Agent, Early-Data, Connection, hop-by-hop, Te, X-Forwarded-*, Via   headerOf, in one go
//	PROXY protocol          not plain
//	HTTP/1.1 for WebSockets not plain
//
// X-Real-IP is this module's own: see setRealIP.
func (t *expressTrip) prepare(req *http.Request) {
	t.Context = req.Context()
	vars := t.Context.Value(caddyhttp.VarsCtxKey).(map[string]any)
	vars[varOfExpress] = t
	t.trace.Got1xxResponse = t.informed
	out := req.WithContext(httptrace.WithClientTrace(t, &t.trace))
	t.url = *req.URL
	t.url.Scheme, t.url.Host = "", ""
	out.URL = &t.url
	out.Body, out.Trailer, out.Close = nil, nil, false
	out.Header = t.way.headerOf(req, vars)
	t.out = out
}

// Value returns what the transport looks for in a request's context.
func (t *expressTrip) Value(key any) any {
	switch key {
	case journeyKey{}:
		return &t.journey
	case dialInfoKey:
		if t.to != nil {
			return t.to.info
		}
	}
	return t.Context.Value(key)
}

// headerOf returns the header that a request has for the upstream.
func (e *express) headerOf(req *http.Request, vars map[string]any) http.Header {
	from := req.Header
	h := newHeaderFields(from, addedFields)
	for name, values := range from {
		if isHopByHop(name) || isNamed(name, from) {
			continue
		}
		h.copy(name, values)
	}
	h.setDefault("User-Agent", "", from) // or net/http would send its own
	if req.TLS != nil && !req.TLS.HandshakeComplete && !isNamed("Early-Data", from) {
		h.set("Early-Data", "1")
	}
	if te := from["Te"]; len(te) > 0 && httpguts.HeaderValuesContainsToken(te, "trailers") && !isNamed("Te", from) {
		h.set("Te", "trailers")
	}
	e.forwarded(h, req, vars)
	via := viaOf(req.ProtoMajor, req.ProtoMinor)
	if before := h.header["Via"]; len(before) > 0 {
		h.header["Via"] = append(before, via)
	} else {
		h.set("Via", via)
	}
	if ip, ok := realIP(vars[caddyhttp.ClientIPVarKey]); ok {
		h.set("X-Real-Ip", ip)
	} else {
		delete(h.header, "X-Real-Ip")
	}
	return h.header
}

// forwarded tells the upstream of the client in X-Forwarded-*. What the client says of it
// is kept if that is trusted. A field that is nil was left out on purpose, by a handler before.
func (e *express) forwarded(h *headerFields, req *http.Request, vars map[string]any) {
	trusted := vars[caddyhttp.TrustedProxyVarKey].(bool)
	ip := ""
	switch {
	case req.RemoteAddr != "@": // a Unix socket
		host, _, err := net.SplitHostPort(req.RemoteAddr)
		if err != nil {
			h.dropForwarded()
			return
		}
		ip, _, _ = strings.Cut(host, "%")
		trusted = trusted || e.trusts(ip)
	case !trusted:
		h.dropForwarded()
		return
	}
	if before, ok := h.header[forwardedFor]; !ok || before != nil {
		if prior := strings.Join(before, ", "); trusted && prior != "" {
			if ip != "" {
				prior += ", " + ip
			}
			h.set(forwardedFor, prior)
		} else if ip != "" {
			h.set(forwardedFor, ip)
		}
	}
	proto := "https"
	if req.TLS == nil {
		proto = "http"
	}
	h.setForwarded(forwardedProto, proto, trusted)
	h.setForwarded(forwardedHost, req.Host, trusted)
}

// trusts tells whether the client at an address is one of the route's trusted proxies.
func (e *express) trusts(ip string) bool {
	if len(e.trusted) == 0 {
		return false
	}
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, one := range e.trusted {
		if one.Contains(address) {
			return true
		}
	}
	return false
}

const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
	forwardedHost  = "X-Forwarded-Host"
)

func (h *headerFields) dropForwarded() {
	delete(h.header, forwardedFor)
	delete(h.header, forwardedProto)
	delete(h.header, forwardedHost)
}

// setForwarded sets a field, unless the client is trusted and says something else.
func (h *headerFields) setForwarded(name, value string, trusted bool) {
	before, ok := h.header[name]
	if ok && before == nil {
		return
	}
	if last := len(before) - 1; trusted && last >= 0 && before[last] != "" {
		value = before[last]
	}
	h.set(name, value)
}

// asCopied makes the header of a request what it is where reverse_proxy copies it for
// header_up: with canonical names, and without fields that have no value.
func asCopied(r *http.Request) {
	for name, values := range r.Header {
		if len(values) == 0 || http.CanonicalHeaderKey(name) != name {
			copied := make(http.Header, len(r.Header))
			addAll(copied, r.Header)
			r.Header = copied
			return
		}
	}
}

func addAll(to, from http.Header) {
	for name, values := range from {
		for _, value := range values {
			to.Add(name, value)
		}
	}
}

// viaOf returns this proxy's entry in Via.
func viaOf(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "1.1 Caddy"
	case major == 2 && minor == 0:
		return "2.0 Caddy"
	case major == 3 && minor == 0:
		return "3.0 Caddy"
	}
	return strconv.Itoa(major) + "." + strconv.Itoa(minor) + " Caddy"
}

func portText(port uint) string { return strconv.Itoa(int(port)) }

// Interface guard
var _ context.Context = (*expressTrip)(nil)
