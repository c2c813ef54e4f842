package diagnose

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// ProxyError is the failure of a proxy on the way to an upstream.
type ProxyError struct {
	Proxy    *url.URL // nil if the variable's value cannot be read
	Variable string   // the environment variable that names it
	Err      error
}

func (e *ProxyError) Error() string { return ProxyName(e.Proxy, e.Variable) + ": " + e.Err.Error() }

func (e *ProxyError) Unwrap() error { return e.Err }

// ProxyName returns a proxy's name for people: without its password, with the variable that names
// it.
func ProxyName(proxy *url.URL, variable string) string {
	switch {
	case proxy == nil && variable == "":
		return "the proxy"
	case proxy == nil:
		return "the proxy in " + variable
	}
	name := url.URL{Scheme: proxy.Scheme, Host: proxy.Host}
	return "the proxy " + printable.Short(name.String()) + " (" + variable + ")"
}

// ProxyVariable returns the variable that names the proxy for a scheme, or nothing if none is set.
func ProxyVariable(scheme string) string {
	names := []string{"HTTP_PROXY", "http_proxy"}
	if scheme == address.HTTPS {
		names = []string{"HTTPS_PROXY", "https_proxy"}
	}
	for _, name := range names {
		if os.Getenv(name) != "" {
			return name
		}
	}
	return ""
}

// ProxyFor returns the proxy that a proxy function gives for a scheme, host and port, and the
// variable that names it. Both are empty if there is no proxy. The error is a *ProxyError.
func ProxyFor(proxy func(*http.Request) (*url.URL, error), scheme, host, port string) (*url.URL, string, error) {
	if scheme == address.H2C {
		scheme = address.HTTP
	}
	target := &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}
	found, err := proxy(&http.Request{Method: http.MethodGet, URL: target})
	if err != nil {
		return nil, "", &ProxyError{Variable: ProxyVariable(scheme), Err: err}
	}
	if found == nil {
		return nil, "", nil
	}
	return found, ProxyVariable(scheme), nil
}

// isProxyError tells whether a proxy on the way to the upstream failed.
func isProxyError(err error) bool {
	if _, ok := errors.AsType[*ProxyError](err); ok {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "proxyconnect" || op.Op == "socks connect") {
		return true
	}
	return isRefusalByProxy(err.Error())
}

// isRefusalByProxy tells whether an error is only the text of a status: that is net/http's error
// if a proxy does not connect to the upstream.
func isRefusalByProxy(text string) bool {
	for code := http.StatusMultipleChoices; code <= http.StatusNetworkAuthenticationRequired; code++ {
		if text != "" && text == http.StatusText(code) {
			return true
		}
	}
	return false
}

// tellProxy is Tell for a proxy that failed.
func tellProxy(u Upstream, err error) (what, advice string) {
	known, ok := errors.AsType[*ProxyError](err)
	if !ok {
		known = &ProxyError{Err: err}
		replace := caddy.NewReplacer()
		host, port := replace.ReplaceKnown(u.Address.Host, ""), replace.ReplaceKnown(u.Address.DialPort(), "")
		known.Proxy, known.Variable, _ = ProxyFor(http.ProxyFromEnvironment, u.Scheme, host, port)
	}
	name := ProxyName(known.Proxy, known.Variable)
	if known.Variable == "" {
		return fmt.Sprintf("it is reached through a proxy, and %s", proxyTrouble(known.Err)), "check `network_proxy` of the route's `transport http`"
	}
	if known.Proxy == nil {
		return known.Variable + " is not the address of a proxy", "correct it in Caddy's environment; write it like http://proxy.lan:3128"
	}
	return fmt.Sprintf("it is reached through %s, and %s", name, proxyTrouble(known.Err)),
		fmt.Sprintf("check that proxy, or add %s to NO_PROXY in Caddy's environment", u.Address.Host)
}

// proxyTrouble says what happened at the proxy.
func proxyTrouble(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "proxyconnect" || op.Op == "socks connect") {
		err = op.Err
	}
	switch Of(err) {
	case Refused:
		return "nothing listens there"
	case NoSuchHost:
		return "the name of the proxy does not resolve here"
	case ConnectTimeout, Unreachable:
		return "nothing answers there"
	case Timeout:
		return "the proxy does not answer in time"
	case Reset, Closed:
		return "the proxy closes the connection"
	case UnknownAuthority, WrongName, Expired, NotYetValid, BadCertificate:
		return "the certificate of the proxy is not accepted"
	case PlainHTTP, NotTLS:
		return "the proxy does not speak TLS"
	}
	return "the proxy fails with \"" + printable.Short(err.Error()) + "\""
}

// Interface guard
var _ error = (*ProxyError)(nil)
