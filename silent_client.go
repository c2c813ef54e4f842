package proxyos

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// brokenOffWait is how long a round trip may take to tell that it is over, once nobody reads the request's body for it.
	brokenOffWait = 50 * time.Millisecond

	// interimWait is how long it may take where there was an informational answer, from which the final one is not told.
	interimWait = time.Second
)

// silentTrip is a round trip over HTTP/2 for a client that may wait for its end before it sends more of its body, or
// be silent for any other reason. The transport waits in the end for who sends the body, and so for the client: before
// it tells that the upstream has broken off before it answered, and before it closes an answer.
// Source: ClientConn.roundTrip and transportResponseBody.Close of golang.org/x/net/http2.
type silentTrip struct {
	j      *journey
	mu     sync.Mutex
	bodies int                // how many have been opened: more than one if the transport has begun again
	end    context.CancelFunc // nil if it is not under way
}

// silentTrip returns the round trip of an attempt over a lane; nil if it does not wait for the client.
func (j *journey) silentTrip(over *lane) *silentTrip {
	if !over.mayBeHTTP2 || !j.body.duplex {
		return nil
	}
	return &silentTrip{j: j}
}

// errRefused says that an upstream has not taken a request on, which cannot be sent to it again.
var errRefused = errors.New("the upstream has refused the request, or closes the connection, and the body cannot be sent again")

// send sends a request to an upstream. An upstream may refuse one, and the transport would begin again, but not in a
// context that has ended.
func (s *silentTrip) send(at *target, req *http.Request) (*http.Response, error) {
	if s == nil {
		return at.roundTrip(req)
	}
	for again := 0; ; again++ {
		res, err := s.sendOnce(at, req)
		if !errors.Is(err, context.Canceled) || req.Context().Err() != nil {
			return res, err
		}
		if again == maxStale || req.GetBody == nil {
			return nil, errRefused
		}
		body, err := req.GetBody()
		if err != nil {
			return nil, errRefused
		}
		req = req.WithContext(req.Context()) // a copy
		req.Body = body
	}
}

func (s *silentTrip) sendOnce(at *target, req *http.Request) (*http.Response, error) {
	ctx, end := context.WithCancel(req.Context())
	s.setEnd(end)
	res, err := at.roundTrip(req.WithContext(ctx))
	s.setEnd(nil)
	if err != nil {
		end()
		return nil, err
	}
	if res.ProtoMajor == 2 {
		res.Body = &unhurried{res.Body, &s.j.body}
	}
	return res, nil
}

func (s *silentTrip) setEnd(end context.CancelFunc) {
	s.mu.Lock()
	s.end = end
	s.mu.Unlock()
}

// bodyOpened is called when the transport gets the body. It returns which one that is.
func (s *silentTrip) bodyOpened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies++
	return s.bodies
}

// bodyClosed is called when the transport closes the body while it reads it. If it neither answers nor begins again,
// the upstream has broken off, and nothing but the end of the reading is waited for.
func (s *silentTrip) bodyClosed(body int) {
	wait := brokenOffWait
	if s.j.interim.Load() {
		wait = interimWait
	}
	time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		isAnswered := s.j.answering.Load() && !s.j.interim.Load()
		if s.end != nil && s.bodies == body && !isAnswered {
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
