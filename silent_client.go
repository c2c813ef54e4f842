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

	// answeringWait is how long it may take where something of an answer has come: an informational one, or a final one
	// that is about to be told.
	answeringWait = time.Second
)

// silentTrip is a round trip over HTTP/2 for a client that may wait for its end before it sends more of its body, or
// be silent for any other reason. The transport waits in the end for who sends the body, and so for the client: before
// it tells that the upstream has broken off before it answered, and before it closes an answer.
// Source: ClientConn.roundTrip and transportResponseBody.Close of golang.org/x/net/http2.
type silentTrip struct {
	j      *journey
	mu     sync.Mutex
	bodies int                // how many have been opened: another one if the transport begins again
	end    context.CancelFunc // nil if it is not under way
}

// tripOver returns the round trip over a lane of an attempt with a body; nil if it does not wait for the client.
func (j *journey) tripOver(over *lane, body io.Reader) *silentTrip {
	if !over.mayBeHTTP2 || !j.body.duplex || body == nil || body == http.NoBody {
		return nil
	}
	return &silentTrip{j: j}
}

// errBrokenOff says that an upstream has ended a request before it answered.
var errBrokenOff = errors.New("the upstream has broken off before it answered")

// send sends a request to an upstream. That context.Canceled comes back, though the request goes on, is due to this end
// of the trip. The upstream may have refused the request, upon which the transport was about to begin again: with
// another body, but in a context that has ended.
func (s *silentTrip) send(at *target, req *http.Request) (*http.Response, error) {
	if s == nil {
		return at.roundTrip(req)
	}
	for again := 0; ; again++ {
		before := s.bodiesOpened()
		res, err := s.sendOnce(at, req)
		if !errors.Is(err, context.Canceled) || req.Context().Err() != nil {
			return res, err
		}
		if s.bodiesOpened() == before || again == maxStale {
			return nil, errBrokenOff
		}
		body, err := req.GetBody()
		if err != nil {
			return nil, errBrokenOff
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

func (s *silentTrip) bodiesOpened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies
}

// bodyOpened is called when a body is opened for the trip. It returns which one that is.
func (s *silentTrip) bodyOpened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies++
	s.j.closedAt.Store(0)
	return s.bodies
}

// bodyClosed is called when the transport closes a body while it reads it. If it neither answers nor begins again, the
// upstream has broken off, and nothing but the end of the reading is waited for.
func (s *silentTrip) bodyClosed(body int) {
	s.j.closedAt.Store(time.Now().UnixNano())
	wait := brokenOffWait
	if s.j.answering.Load() {
		wait = answeringWait
	}
	time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.end != nil && s.bodies == body {
			s.end()
		}
	})
}

// unhurried is the body of an answer that is closed without waiting for the client.
type unhurried struct {
	io.ReadCloser
	client *clientBody
}

// Close closes the body. Where the client's has not ended, nobody waits for that. Over HTTP/2 and HTTP/3 the server
// ends the client's body when the answer has ended.
func (u *unhurried) Close() error {
	if u.client.wholeAt.Load() != 0 {
		return u.ReadCloser.Close()
	}
	go func() { _ = u.ReadCloser.Close() }()
	return nil
}

// Interface guard
var _ io.ReadCloser = (*unhurried)(nil)
