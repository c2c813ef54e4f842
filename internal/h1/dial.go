package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// key is what connections have in common that may serve the same requests.
type key struct {
	scheme, host string
	onlyHTTP1    bool // HTTP/2 is not offered
}

// keyOf returns the key for a request. WebSockets need HTTP/1.1.
func keyOf(req *http.Request) key {
	webSocket := len(req.Header["Upgrade"]) > 0 && httpguts.HeaderValuesContainsToken(req.Header["Connection"], "upgrade") &&
		strings.EqualFold(req.Header.Get("Upgrade"), "websocket")
	return key{req.URL.Scheme, req.URL.Host, webSocket}
}

// address returns the host with a port.
func (k key) address() string {
	host := k.host
	if ascii, err := httpguts.PunycodeHostPort(host); err == nil {
		host = ascii
	}
	where := url.URL{Host: host}
	port := where.Port()
	if port == "" {
		port = "80"
		if k.scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(where.Hostname(), port)
}

// dial opens a connection.
func (t *Transport) dial(ctx context.Context, where key) (*conn, error) {
	c := &conn{pool: &t.pool, where: where, maxHeader: t.maxHeader, counted: true}
	if where.scheme == "https" && t.dialTLS != nil {
		opened, err := t.dialTLS(ctx, "tcp", where.address())
		if err != nil {
			return nil, err
		}
		if opened == nil {
			return nil, errors.New("net/http: Transport.DialTLS or DialTLSContext returned (nil, nil)")
		}
		if session, ok := opened.(*tls.Conn); ok {
			if err := traced(ctx, session, func() error { return session.HandshakeContext(ctx) }); err != nil {
				_ = opened.Close()
				return nil, err
			}
		}
		c.Conn = opened
	} else {
		opened, err := t.dialContext(ctx, "tcp", where.address())
		if err != nil {
			return nil, err
		}
		if opened == nil {
			return nil, errors.New("net/http: Transport.DialContext hook returned (nil, nil)")
		}
		c.Conn = opened
		if where.scheme == "https" {
			session, quiet, err := t.handshake(ctx, opened, where)
			if err != nil {
				return nil, err
			}
			c.Conn, c.quiet = session, quiet
		}
	}
	if session, ok := c.Conn.(*tls.Conn); ok {
		state := session.ConnectionState()
		if state.NegotiatedProtocol == "h2" {
			_ = c.Conn.Close()
			return nil, ErrHTTP2
		}
		c.state = &state
	}
	switch {
	case c.quiet != nil:
		c.eye = c.quiet.eye
	case c.state == nil || keepsDeadlines(c.Conn):
		c.eye = newEye(c.Conn)
	}
	return c, nil
}
