package proxyos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestWhoseFaultAFailedAttemptIs(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	here := t.Context()
	refused := reverseproxy.NewDialError(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for _, c := range []struct {
		name   string
		known  evidence
		err    error
		want   fault
		status int
	}{
		{"a refused connection", evidence{context: here, asked: true}, refused, upstreamFault, 0},
		{"another request's refused connection", evidence{context: here}, refused, upstreamFault, 0},
		{"a handshake that this side ended", evidence{context: here}, &handshakeError{&tls.CertificateVerificationError{}}, upstreamFault, 0},
		{"a reset of a new connection", evidence{context: here, asked: true}, reset, upstreamFault, 0},
		{"the end of a new connection", evidence{context: here, asked: true}, io.EOF, upstreamFault, 0},
		{"a reset of a used connection", evidence{context: here, asked: true, reused: true}, reset, staleFault, 502},
		{"the end of a used connection", evidence{context: here, asked: true, reused: true}, errors.New("http: server closed idle connection"), staleFault, 502},
		{"a used connection that this side had closed", evidence{context: here, asked: true, reused: true}, fmt.Errorf("write: %w", net.ErrClosed), staleFault, 502},
		{"the end of a used connection, in the middle of an answer", evidence{context: here, asked: true, reused: true, answering: true}, io.ErrUnexpectedEOF, upstreamFault, 0},
		{"a used connection that hangs", evidence{context: here, asked: true, reused: true}, os.ErrDeadlineExceeded, upstreamFault, 0},
		{"garbage on a used connection", evidence{context: here, asked: true, reused: true}, errors.New(`malformed HTTP response "x"`), upstreamFault, 0},
		{"a client that left", evidence{context: gone, asked: true}, context.Canceled, clientFault, 499},
		{"a client that left before the connection", evidence{context: gone}, context.Canceled, clientFault, 499},
		{"a client that left while the upstream failed", evidence{context: gone, asked: true}, reset, clientFault, 499},
		{"a body that ends too early", evidence{context: here, asked: true, body: io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF, clientFault, 400},
		{"a body that ends too early, which ends the context", evidence{context: gone, asked: true, body: io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF, clientFault, 400},
		{"a body whose client has left", evidence{context: gone, asked: true, body: errors.New("client disconnected")}, reset, clientFault, 499},
		{"a malformed chunk", evidence{context: here, asked: true, body: errors.New("malformed chunked encoding")}, errors.New("x"), clientFault, 400},
		{"a body that is too long", evidence{context: here, asked: true, body: &http.MaxBytesError{Limit: 1}}, errors.New("x"), clientFault, 413},
		{"a body that does not come", evidence{context: gone, asked: true, body: os.ErrDeadlineExceeded}, os.ErrDeadlineExceeded, clientFault, 408},
		{"an upstream that has enough of a slow body", evidence{context: here, asked: true, slow: true}, reset, clientFault, 408},
		{"a time-out while a slow body comes, over a used connection", evidence{context: here, asked: true, reused: true, slow: true}, os.ErrDeadlineExceeded, clientFault, 408},
		{"a refused connection before a slow body", evidence{context: here, asked: true, slow: true}, refused, upstreamFault, 0},
		{"garbage while a slow body comes", evidence{context: here, asked: true, slow: true}, errors.New(`malformed HTTP response "x"`), upstreamFault, 0},
		{"a limit of this proxy's", evidence{context: late, asked: true}, context.DeadlineExceeded, ownFault, 504},
		{"a header that cannot be sent", evidence{context: here}, errors.New(`net/http: invalid header field value for "X"`), ownFault, 400},
		{"a target that HTTP/2 does not have", evidence{context: here, asked: true}, errors.New(`invalid request :path "bar" from URL.Opaque = "bar"`), ownFault, 400},
		{"a host that cannot be sent", evidence{context: here, asked: true, reused: true}, errors.New("http2: invalid Host header"), ownFault, 400},
		{"a header that cannot be sent over HTTP/3", evidence{context: here, asked: true}, errors.New(`http3: invalid http header field value for key "X"`), ownFault, 400},
		{"an answer with a header that is none", evidence{context: here, asked: true}, errors.New(`stream error: stream ID 1; PROTOCOL_ERROR; invalid header field value "x"`), upstreamFault, 0},
		{"a header that the upstream's limit forbids", evidence{context: here, asked: true, reused: true}, errors.New("http2: request header list larger than peer's advertised limit"), ownFault, 431},
		{"no file left for a connection", evidence{context: here, asked: true}, reverseproxy.NewDialError(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}), ownFault, 503},
		{"no file left for a look-up", evidence{context: here, asked: true}, reverseproxy.NewDialError(errors.New("dial tcp: lookup app on 127.0.0.11:53: dial udp 127.0.0.11:53: socket: too many open files")), ownFault, 503},
		{"a body that is used up", evidence{context: here, asked: true}, fmt.Errorf("write: %w", errBodyUsedUp), ownFault, 502},
		{"a body that others have read", evidence{context: here, asked: true, body: errBodyCut}, errors.New("http: ContentLength=4 with Body length 2"), ownFault, 502},
		{"a body that others have read, and a client that has left", evidence{context: gone, asked: true, body: errBodyCut}, context.Canceled, clientFault, 499},
		{"a body that is shorter than its length", evidence{context: here, asked: true}, errors.New("http: ContentLength=4 with Body length 0"), ownFault, 502},
		{"a body that is longer than its length", evidence{context: here, asked: true}, errors.New("http2: request body larger than specified content length"), ownFault, 502},
		{"a length without a body", evidence{context: here, asked: true}, errors.New("http: Request.ContentLength=4 with nil Body"), ownFault, 502},
		{"a body that is not there", evidence{context: here}, errBodyOther, ownFault, 502},
		{"a body that others have lengthened", evidence{context: here, asked: true, reused: true, body: errBodyOther}, net.ErrClosed, ownFault, 502},
		{"a request that was never sent", evidence{context: here}, errors.New("something else"), ownFault, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, status := c.known.blame(c.err); got != c.want || status != c.status {
				t.Errorf("it is fault %d with status %d, want %d with %d", got, status, c.want, c.status)
			}
		})
	}
}

func TestAStopIsWhatReverseProxyStopsFor(t *testing.T) {
	inner := errors.New("inner")
	if stop := error(stopError{inner}); !errors.Is(stop, context.Canceled) || stop.Error() != "inner" {
		t.Errorf("%v is not the client's leaving", stop)
	}
}
