// Package h1 speaks HTTP/1.1 to servers, as http.Transport does, but in the goroutine of whoever
// asks: it writes the request and reads the header of the answer. A connection of http.Transport
// has two goroutines and two buffers of its own, and each request is handed from one goroutine
// to the next four times. Here an idle connection has neither.
//
// What a request and an answer look like is left to net/http: Request.Write prints the one, and
// ReadResponse parses the other. What an exchange of the two means, is that of http.Transport:
// the errors, what is tried again, and which connection is used again.
package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"golang.org/x/net/http/httpguts"
)

// defaultMaxHeader is how large the header of an answer may be, unless MaxResponseHeaderBytes
// says otherwise.
const defaultMaxHeader = 10 << 20

// Transport sends requests over HTTP/1.1. Its settings are those of an http.Transport.
type Transport struct {
	// ContextForDial returns the context to dial with, given the request's. It is called before
	// the dial, which may outlive the request, in the goroutine of whoever asks. If nil, the dial
	// has the values of the request's context as they are when it looks.
	ContextForDial func(context.Context) context.Context

	dialContext    dialFunc
	dialTLS        dialFunc // nil unless the http.Transport makes its own handshakes
	tlsConfig      *tls.Config
	handshakeLimit time.Duration
	headerLimit    time.Duration
	continueWait   time.Duration
	maxHeader      int64
	closeAlways    bool // each connection carries one request only
	noCompression  bool

	buffers bufferPool
	pool    pool
}

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// New returns a Transport with the settings of an http.Transport, as they are now. These must
// allow for HTTP/1.1, and they must need no proxy: Proxy is not asked. Its idle connections are
// to be closed with CloseIdleConnections.
func New(t *http.Transport) *Transport {
	own := &Transport{
		dialContext:    t.DialContext,
		dialTLS:        t.DialTLSContext,
		tlsConfig:      t.TLSClientConfig,
		handshakeLimit: t.TLSHandshakeTimeout,
		headerLimit:    t.ResponseHeaderTimeout,
		continueWait:   t.ExpectContinueTimeout,
		maxHeader:      t.MaxResponseHeaderBytes,
		closeAlways:    t.DisableKeepAlives,
		noCompression:  t.DisableCompression,
	}
	if own.dialContext == nil {
		own.dialContext = new(net.Dialer).DialContext
	}
	if own.maxHeader == 0 {
		own.maxHeader = defaultMaxHeader
	}
	own.buffers.readSize, own.buffers.writeSize = t.ReadBufferSize, t.WriteBufferSize
	own.pool = pool{
		dial:           own.dial,
		detach:         own.detach,
		keepsNone:      t.DisableKeepAlives || t.MaxIdleConnsPerHost < 0,
		maxIdle:        t.MaxIdleConns,
		maxIdlePerHost: t.MaxIdleConnsPerHost,
		maxPerHost:     t.MaxConnsPerHost,
		idleLimit:      t.IdleConnTimeout,
		hosts:          make(map[key]*host),
		dials:          make(map[*waiter]struct{}),
	}
	if own.pool.maxIdlePerHost == 0 {
		own.pool.maxIdlePerHost = http.DefaultMaxIdleConnsPerHost
	}
	return own
}

// RoundTrip implements http.RoundTripper. An error that is ErrHTTP2 leaves the request as it is,
// its body included, unless that has been sent in vain before: then GetBody has it. The deprecated Cancel of a request has no effect.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := check(req); err != nil {
		closeBody(req)
		return nil, err
	}
	ctx := req.Context()
	asked := req
	req, body := track(req)
	trace := httptrace.ContextClientTrace(ctx)
	where := keyOf(req)
	rewound := false
	for {
		if ctx.Err() != nil {
			closeBody(req)
			return nil, context.Cause(ctx)
		}
		c, err := t.connect(ctx, where, trace)
		if err != nil {
			if rewound || !errors.Is(err, ErrHTTP2) {
				closeBody(req)
			}
			return nil, err
		}
		res, err := t.exchange(c, req, body, trace)
		if err == nil {
			res.Request = asked
			return res, nil
		}
		if !c.reused || !mayResend(req, err) {
			if body != nil {
				_ = body.Close()
			}
			return nil, plain(err)
		}
		first := body
		if req, body, err = rewind(req, body); err != nil {
			return nil, err
		}
		rewound = rewound || body != first
	}
}

// connect returns a connection on which nothing has happened since its last answer.
func (t *Transport) connect(ctx context.Context, where key, trace *httptrace.ClientTrace) (*conn, error) {
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(where.address())
	}
	for {
		c, idleAt, err := t.pool.get(ctx, where)
		if err != nil {
			return nil, err
		}
		if c.reused && !c.isQuiet() {
			c.close()
			continue
		}
		if trace != nil && trace.GotConn != nil {
			info := httptrace.GotConnInfo{Conn: c.Conn, Reused: c.reused}
			if !idleAt.IsZero() {
				info.WasIdle, info.IdleTime = true, time.Since(idleAt)
			}
			trace.GotConn(info)
		}
		return c, nil
	}
}

// detach returns the context of a dial.
func (t *Transport) detach(ctx context.Context) context.Context {
	if t.ContextForDial != nil {
		ctx = t.ContextForDial(ctx)
	}
	return context.WithoutCancel(ctx)
}

// CloseIdleConnections closes the connections that are idle, and those that become so before
// the next request.
func (t *Transport) CloseIdleConnections() { t.pool.closeIdle() }

// check rejects a request that cannot be sent.
func check(req *http.Request) error {
	if req.URL == nil {
		return errors.New("http: nil Request.URL")
	}
	if req.Header == nil {
		return errors.New("http: nil Request.Header")
	}
	if invalid := invalidField(req.Header); invalid != "" {
		return fmt.Errorf("net/http: invalid header %s", invalid)
	}
	if invalid := invalidField(req.Trailer); invalid != "" {
		return fmt.Errorf("net/http: invalid trailer %s", invalid)
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return fmt.Errorf("unsupported protocol scheme %q", req.URL.Scheme)
	}
	if req.Method != "" && !httpguts.ValidHeaderFieldName(req.Method) { // both are tokens
		return fmt.Errorf("net/http: invalid method %q", req.Method)
	}
	if req.URL.Host == "" {
		return errors.New("http: no Host in request URL")
	}
	return nil
}

// invalidField says which field of a header cannot be sent. It does not say the value, which may
// be secret.
func invalidField(header http.Header) string {
	for name, values := range header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Sprintf("field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Sprintf("field value for %q", name)
			}
		}
	}
	return ""
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// Interface guard
var _ http.RoundTripper = (*Transport)(nil)
