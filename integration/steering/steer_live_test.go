package steering

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// sockets opens n upgraded connections.
func sockets(t *testing.T, s *server, n int) []*socket {
	t.Helper()
	var open []*socket
	for range n {
		open = append(open, openSocket(t, s))
	}
	return open
}

func wantsOpen(t *testing.T, sockets []*socket, when string) {
	t.Helper()
	for i, socket := range sockets {
		if err := socket.echo(fmt.Sprint(when, i)); err != nil {
			t.Fatalf("%s: socket %d of %s: %v", when, i, socket.group, err)
		}
	}
}

// The split is changed again and again while clients are at full speed and WebSockets are
// open: each change is in force for the next request, and nothing breaks.
func TestChangesUnderLoadBreakNothing(t *testing.T) {
	const clients, open = 64, 200
	changes := lab.Sized(50, 1000, 60)
	s, prod, stag := blueGreen(t, "traffic_split 50")
	echoes(t, prod)
	echoes(t, stag)
	webSockets := sockets(t, s, open)
	load := drive(t, s.URL, clients, math.MaxInt64)
	var slowest time.Duration
	for i := range changes {
		percent := []float64{0, 100, float64(i) / 10, 100 - float64(i)/20}[i%4]
		began := time.Now()
		s.Split(percent)
		slowest = max(slowest, time.Since(began))
		switch percent {
		case 0:
			s.Wants(http.StatusOK, "production")
		case 100:
			s.Wants(http.StatusOK, "staging")
		default:
			if got := s.Route().TrafficSplit; got != percent {
				t.Fatalf("%v %% is acknowledged, and %v %% in force", percent, got)
			}
		}
		if i%100 == 0 {
			wantsOpen(t, webSockets, fmt.Sprint("change ", i, " "))
		}
	}
	wantsOpen(t, webSockets, "after all changes ")
	load.stop()
	load.wantsNoError(t)
	r := s.Route()
	if got := r.Groups[production].InFlight + r.Groups[staging].InFlight; got != open {
		t.Errorf("%d requests are in flight, want the %d WebSockets", got, open)
	}
	if load.bodies["production"] == 0 || load.bodies["staging"] == 0 || r.Fallbacks != 0 {
		t.Errorf("answered were %v, with %d fallbacks", load.bodies, r.Fallbacks)
	}
	t.Logf("%d requests; the slowest of %d changes took %s", load.answered(), changes, slowest.Round(time.Millisecond))
}

// The config is reloaded again and again under the same load. Caddy closes WebSockets at a
// reload unless the route has a stream_close_delay, as this one has.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	const clients, percent = 64, 30
	reloads := lab.Sized(50, 100, 40)
	// No WebSockets with the race detector: as Caddy's reverse_proxy (2.11.9) schedules their end,
	// with stream_close_delay, it writes a field of a struct that requests copy. The copies do not
	// use the field, but the detector rightly reports it.
	open := lab.Sized(200, 200, 0)
	s, prod, stag := blueGreen(t, "traffic_split 30", "stream_close_delay 5m")
	echoes(t, prod)
	echoes(t, stag)
	webSockets := sockets(t, s, open)
	load := drive(t, s.URL, clients, math.MaxInt64)
	load.reloading.Store(true)
	var last route
	for i := range reloads {
		load.past(t, int64(i)*clients*2)
		s.MustLoad(s.BlueGreen(prod, stag, "traffic_split 30", "stream_close_delay 5m", fmt.Sprint("header_down X-Version ", i)))
		r := s.Route()
		for group := range r.Groups {
			was := uint64(0)
			if last.Groups != nil {
				was = last.Groups[group].Requests
			}
			if r.Groups[group].Requests < was {
				t.Fatalf("reload %d: the total of %s falls from %d to %d", i, r.Groups[group].Name, was, r.Groups[group].Requests)
			}
		}
		last = r
	}
	load.stop()
	load.wantsNoError(t)
	wantsOpen(t, webSockets, "after all reloads ")

	r := s.Route()
	if got := r.Groups[production].InFlight + r.Groups[staging].InFlight; got != int64(open) {
		t.Errorf("%d requests are in flight, want the %d WebSockets", got, open)
	}
	answered := float64(load.answered())
	if share := 100 * float64(load.bodies["staging"]) / answered; math.Abs(share-percent) > 0.1 {
		t.Errorf("staging had %v %% of the requests", share)
	}
	// with the sockets, which took turns too, it is exact
	ofSockets := 0
	for _, socket := range webSockets {
		if socket.group == "staging" {
			ofSockets++
		}
	}
	if got, want := float64(load.bodies["staging"])+float64(ofSockets), (answered+float64(open))*percent/100; math.Abs(got-want) > 0.5 {
		t.Errorf("staging had %v requests, want %v", got, want)
	}
	if got := r.Groups[production].Requests + r.Groups[staging].Requests; float64(got) != answered {
		t.Errorf("%v requests were answered and %d are counted", answered, got)
	}
	t.Logf("%v requests over %d reloads; Caddy closed the connections of %d others unread", answered, reloads, load.dropped.Load())
}
