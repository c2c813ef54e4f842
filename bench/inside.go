package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	_ "github.com/proxyos/caddy-proxyos"
)

func init() {
	caddy.RegisterModule(notingTransport{})
}

const (
	proxyosHandlerID = "http.handlers.proxyos"
	stockHandlerID   = "http.handlers.reverse_proxy"
)

// notingTransport answers each request itself, with the name of the upstream's host.
type notingTransport struct{}

// CaddyModule returns the Caddy module information.
func (notingTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.bench",
		New: func() caddy.Module { return new(notingTransport) },
	}
}

// RoundTrip answers with the chosen upstream's name in a header.
func (notingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	info, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok {
		return nil, errors.New("no upstream was chosen")
	}
	return &http.Response{
		StatusCode: http.StatusNoContent, ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, Request: req,
		Header: http.Header{groupHeader: {info.Host}},
	}, nil
}

// spreadInside puts requests through a handler in this process.
func spreadInside(ctx context.Context, id, config string) (*spread, error) {
	caddyCtx, err := caddy.ProvisionContext(new(caddy.Config))
	if err != nil {
		return nil, err
	}
	module, err := caddyCtx.LoadModuleByID(id, json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	handler := module.(caddyhttp.MiddlewareHandler)
	server := new(caddyhttp.Server)
	result := newSpread(0.1)
	for range selections {
		w := httptest.NewRecorder()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bench.example/", nil)
		if err != nil {
			return nil, err
		}
		r.RemoteAddr = "192.0.2.1:1234"
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server)
		if err := handler.ServeHTTP(w, r, nil); err != nil {
			return nil, err
		}
		result.add(w.Header().Get(groupHeader))
		if result.different > 0 {
			return nil, fmt.Errorf("an answer is from neither group: %v", w.Header())
		}
	}
	return result, ctx.Err()
}
