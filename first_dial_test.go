package proxyos

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// roundTrip is a round tripper made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// through sends n requests through a gate at once and returns their errors.
func through(g *gate, next http.RoundTripper, n int) []error {
	failures := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, failures[i] = g.roundTrip(next, httptest.NewRequest("GET", "/", nil))
		})
	}
	wg.Wait()
	return failures
}

func TestGateSharesTheFailureOfTheFirstDial(t *testing.T) {
	var dials atomic.Int64
	dialling, allHere := make(chan struct{}), make(chan struct{})
	refused := reverseproxy.NewDialError(errors.New("connection refused"))
	g := new(gate)
	next := roundTrip(func(*http.Request) (*http.Response, error) {
		if dials.Add(1) == 1 {
			close(dialling)
			<-allHere
		}
		return nil, refused
	})
	first := make(chan error)
	go func() {
		_, err := g.roundTrip(next, httptest.NewRequest("GET", "/", nil))
		first <- err
	}()
	<-dialling
	waiting := make(chan []error)
	go func() { waiting <- through(g, next, 10) }()
	close(allHere)
	if err := <-first; !isDialError(err) {
		t.Errorf("the first request: %v, want the dial error", err)
	}
	for _, err := range <-waiting {
		if !isDialError(err) {
			t.Errorf("a request that waited: %v, want the dial error", err)
		}
	}
	// those that came after the outcome was known have dialled in turn, one at a time
	if g.open.Load() {
		t.Error("the gate is open though no dial has succeeded")
	}
}

func TestGateOpensWithTheFirstConnection(t *testing.T) {
	g, answer := new(gate), make(chan struct{})
	var underWay atomic.Int64
	next := roundTrip(func(req *http.Request) (*http.Response, error) {
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
			trace.GotConn(httptrace.GotConnInfo{})
		}
		if underWay.Add(1) == 10 {
			close(answer) // all are under way before any is answered
		}
		<-answer
		return new(http.Response), nil
	})
	for _, err := range through(g, next, 10) {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestGateClosesWhenADialFails(t *testing.T) {
	g := new(gate)
	g.open.Store(true)
	for _, failure := range []error{errors.New("reset"), net.ErrClosed} {
		through(g, roundTrip(func(*http.Request) (*http.Response, error) { return nil, failure }), 1)
		if !g.open.Load() {
			t.Errorf("the gate is closed by %v, which is no failure to connect", failure)
		}
	}
	through(g, roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, reverseproxy.NewDialError(errors.New("connection refused"))
	}), 1)
	if g.open.Load() {
		t.Error("the gate stays open after a failed dial")
	}
}

func TestGateHoldsNobodyUpForLong(t *testing.T) {
	g, stuck := new(gate), make(chan struct{})
	arrived := make(chan struct{}, 2)
	next := roundTrip(func(*http.Request) (*http.Response, error) {
		arrived <- struct{}{}
		<-stuck
		return new(http.Response), nil
	})
	done := make(chan []error)
	go func() { done <- through(g, next, 2) }()
	<-arrived
	<-arrived // the other does not wait for the first for ever
	close(stuck)
	<-done
}

func BenchmarkOpenGate(b *testing.B) {
	g, response := new(gate), new(http.Response)
	g.open.Store(true)
	next := roundTrip(func(*http.Request) (*http.Response, error) { return response, nil })
	req := httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		g.roundTrip(next, req)
	}
}

func TestFailedHandshakesAreFailedDials(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"an unknown authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, true},
		{"a certificate that is not pinned", &certs.PinError{}, true},
		{"plain HTTP", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, true},
		{"a bad record later on", tls.RecordHeaderError{Msg: "unsupported SSLv2 handshake received"}, false},
		{"a refusal by the other side", &net.OpError{Op: "remote error", Err: tls.AlertError(116)}, false},
		{"a connection that breaks off", io.EOF, false},
	} {
		_, err := attempt(roundTrip(func(*http.Request) (*http.Response, error) { return nil, c.err }), httptest.NewRequest("POST", "/", nil))
		if isDialError(err) != c.want {
			t.Errorf("%s: a failed dial is %t, want %t", c.name, isDialError(err), c.want)
		}
		if !errors.Is(err, c.err) || err.Error() != c.err.Error() || diagnose.Of(err) != diagnose.Of(c.err) {
			t.Errorf("%s: the cause is hidden in %q", c.name, err)
		}
	}
}
