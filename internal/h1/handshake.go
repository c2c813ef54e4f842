package h1

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
)

// handshake returns the connection with TLS on it.
func (t *Transport) handshake(ctx context.Context, c net.Conn, where key) (*tls.Conn, *quietConn, error) {
	config := &tls.Config{}
	if t.tlsConfig != nil {
		config = t.tlsConfig.Clone()
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(where.address())
		if err != nil {
			_ = c.Close()
			return nil, nil, err
		}
		config.ServerName = host
	}
	if where.onlyHTTP1 {
		config.NextProtos = nil
	}
	var quiet *quietConn
	if eye := newEye(c); eye != nil {
		quiet = &quietConn{Conn: c, eye: eye}
		c = quiet
	}
	session := tls.Client(c, config)
	limited := ctx
	if t.handshakeLimit != 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, t.handshakeLimit)
		defer cancel()
	}
	err := traced(ctx, session, func() error { return session.HandshakeContext(limited) })
	if err != nil {
		_ = c.Close()
		if limited.Err() != nil && ctx.Err() == nil {
			err = handshakeTimeout{}
		}
		return nil, nil, err
	}
	return session, quiet, nil
}

// traced runs a handshake, and tells the trace of it.
func traced(ctx context.Context, session *tls.Conn, handshake func() error) error {
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	err := handshake()
	if trace != nil && trace.TLSHandshakeDone != nil {
		state := tls.ConnectionState{}
		if err == nil {
			state = session.ConnectionState()
		}
		trace.TLSHandshakeDone(state, err)
	}
	return err
}
