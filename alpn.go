package proxyos

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/h1"
)

// maxChoices is how many upstreams of one lane have their choice remembered.
const maxChoices = 4096

// alpn sends requests to upstreams that choose in the TLS handshake between HTTP/1.1 and HTTP/2.
// Which of them an upstream speaks, its first answer tells.
type alpn struct {
	either http.RoundTripper
	http1  *h1.Transport

	http1At sync.Map // the dial addresses of upstreams that speak HTTP/1.1
	known   atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (a *alpn) RoundTrip(req *http.Request) (*http.Response, error) {
	where := req.URL.Host
	if info, ok := reverseproxy.GetDialInfo(req.Context()); ok {
		where = info.Address
	}
	_, speaksHTTP1 := a.http1At.Load(where)
	if speaksHTTP1 {
		res, err := a.http1.RoundTrip(req)
		if !errors.Is(err, h1.ErrHTTP2) {
			return res, err
		}
		a.forget(where) // another server, or the same one after a change
		if req, err = fresh(req); err != nil {
			return nil, err
		}
	}
	res, err := a.either.RoundTrip(req)
	if err == nil && res.ProtoMajor == 1 && !speaksHTTP1 {
		a.remember(where)
	}
	return res, err
}

// fresh returns the request with its body at its beginning: h1 may have sent it in vain, over a
// connection that had ended.
func fresh(req *http.Request) (*http.Request, error) {
	if req.GetBody == nil {
		return req, nil
	}
	_ = req.Body.Close()
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	again := *req
	again.Body = body
	return &again, nil
}

func (a *alpn) remember(where string) {
	if a.known.Load() >= maxChoices {
		a.http1At.Range(func(other, _ any) bool {
			a.forget(other.(string))
			return true
		})
	}
	if _, known := a.http1At.LoadOrStore(where, true); !known {
		a.known.Add(1)
	}
}

func (a *alpn) forget(where string) {
	if _, known := a.http1At.LoadAndDelete(where); known {
		a.known.Add(-1)
	}
}

// Interface guard
var _ http.RoundTripper = (*alpn)(nil)
