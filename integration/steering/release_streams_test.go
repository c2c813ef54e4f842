package steering

import (
	"bufio"
	"fmt"
	"net/http"
	"testing"
)

func TestWebSocketsKeepTheirGroupForLife(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 50")
	echoes(t, prod)
	echoes(t, stag)
	var sockets []*socket
	by := make(map[string]int)
	for range 20 {
		socket := openSocket(t, s)
		sockets = append(sockets, socket)
		by[socket.group]++
	}
	if by["production"] != 10 || by["staging"] != 10 {
		t.Fatalf("20 sockets at 50 %% went to %v", by)
	}
	for _, percent := range []float64{0, 100, 33, 50} {
		s.Split(percent)
		for i, socket := range sockets {
			if err := socket.echo(fmt.Sprint(percent, i)); err != nil {
				t.Fatalf("socket %d of %s: %v", i, socket.group, err)
			}
		}
	}
	r := s.Route()
	if r.Groups[production].InFlight != 10 || r.Groups[staging].InFlight != 10 {
		t.Errorf("in flight are %d and %d, want 10 and 10", r.Groups[production].InFlight, r.Groups[staging].InFlight)
	}
	for _, socket := range sockets {
		socket.Close()
	}
	eventually(t, "closed sockets are in flight no more", func() bool {
		r := s.Route()
		return r.Groups[production].InFlight == 0 && r.Groups[staging].InFlight == 0
	})
}

func TestStreamsKeepTheirGroupForLife(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 100")
	next := make(chan struct{})
	for _, b := range []*backend{prod, stag} {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for range 5 {
				fmt.Fprintln(w, b.Name)
				http.NewResponseController(w).Flush()
				select {
				case <-next:
				case <-r.Context().Done():
					return
				}
			}
		})
	}
	res, err := s.Client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for i, percent := range []float64{100, 0, 50, 0, 100} {
		s.Split(percent)
		if !lines.Scan() || lines.Text() != "staging" {
			t.Fatalf("event %d is %q, %v", i, lines.Text(), lines.Err())
		}
		if got := s.Route().Groups[staging].InFlight; got != 1 {
			t.Errorf("at event %d staging has %d in flight", i, got)
		}
		next <- struct{}{}
	}
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("the stream ends with %q, %v", lines.Text(), lines.Err())
	}
	if prod.Requests.Load() != 0 || stag.Requests.Load() != 1 {
		t.Errorf("production had %d requests and staging %d, want 0 and 1", prod.Requests.Load(), stag.Requests.Load())
	}
}
