package proxyos

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// brokenOffWait is how long a round trip may take to tell that it is over, once nobody reads the request's body for it.
const brokenOffWait = 50 * time.Millisecond

// silentTrip is a round trip over HTTP/2 for a client that may wait for its end before it sends more of its body, or
// be silent for any other reason. The transport waits in the end for who sends the body, and so for the client: before
// it tells that the upstream has broken off before it answered, and before it closes an answer.
// Source: ClientConn.roundTrip and transportResponseBody.Close of golang.org/x/net/http2.
type silentTrip struct {
	j    *journey
	end  context.CancelFunc
	over atomic.Bool
}

// silentTrip returns the round trip of an attempt over a lane; nil if it does not wait for the client.
func (j *journey) silentTrip(over *lane) *silentTrip {
	if !over.mayBeHTTP2 || !j.body.duplex {
		return nil
	}
	return &silentTrip{j: j}
}

// errBrokenOff says that an upstream has ended a request before it answered.
var errBrokenOff = errors.New("the upstream has reset the request before it answered")

// send sends a request to an upstream.
func (s *silentTrip) send(at *target, req *http.Request) (*http.Response, error) {
	if s == nil {
		return at.roundTrip(req)
	}
	ctx, end := context.WithCancel(req.Context())
	s.end = end
	res, err := at.roundTrip(req.WithContext(ctx))
	s.over.Store(true)
	if err != nil {
		if end(); errors.Is(err, context.Canceled) && req.Context().Err() == nil {
			err = errBrokenOff
		}
		return nil, err
	}
	if res.ProtoMajor == 2 {
		res.Body = &unhurried{res.Body, &s.j.body}
	}
	return res, nil
}

// bodyClosed is called when the transport closes the body while it reads it. If there is no answer, the upstream has
// broken off, and the transport waits for nothing but the end of the reading.
func (s *silentTrip) bodyClosed() {
	time.AfterFunc(brokenOffWait, func() {
		if !s.over.Load() && !s.j.answering.Load() {
			s.end()
		}
	})
}

// unhurried is the body of an answer that is closed without waiting for the client.
type unhurried struct {
	io.ReadCloser
	client *clientBody
}

// Close closes the body. The client's may not have ended; over HTTP/2 and HTTP/3 it does with the answer.
func (u *unhurried) Close() error {
	if u.client.wholeAt.Load() != 0 {
		return u.ReadCloser.Close()
	}
	go func() { _ = u.ReadCloser.Close() }()
	return nil
}

// Interface guard
var _ io.ReadCloser = (*unhurried)(nil)
