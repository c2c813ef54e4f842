package lab

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// Answer is what a client got.
type Answer struct {
	*http.Response
	Body string
}

// Do sends a request and reads the answer.
func (s *Server) Do(req *http.Request) Answer {
	s.T.Helper()
	res, err := s.Client.Do(req)
	if err != nil {
		s.T.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.T.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return Answer{res, string(body)}
}

// Request returns a request to the server, with header fields given as name, value, ….
func (s *Server) Request(method, path string, body io.Reader, fields ...string) *http.Request {
	s.T.Helper()
	req, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		s.T.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			req.Host = fields[i+1]
			continue
		}
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

// Crowd sends requests from several clients at once and returns how many were not
// answered with 200.
func (s *Server) Crowd(clients, requests int, newRequest func() *http.Request) (failed int) {
	s.T.Helper()
	var left, bad atomic.Int64
	left.Store(int64(requests))
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				res, err := s.Client.Do(newRequest())
				if err != nil {
					bad.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
					bad.Add(1)
				}
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	return int(bad.Load())
}
