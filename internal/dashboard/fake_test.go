package dashboard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// fakeSource is a source of what a test says. It is asked by several goroutines.
type fakeSource struct {
	mu       sync.Mutex
	snapshot *Snapshot
	err      error
	taken    int
	asked    []string // method, path and body of what was done
	status   int      // of the answer; 0: 200
	answer   string
}

func (f *fakeSource) Snapshot(context.Context) (*Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken++
	return f.snapshot, f.err
}

func (f *fakeSource) Do(_ context.Context, method, path string, body []byte) (int, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, strings.TrimSpace(method+" "+path+" "+string(body)))
	return max(f.status, 200), []byte(f.answer), f.err
}

var errCaddy = errors.New("no answer from Caddy")

// set changes what it tells.
func (f *fakeSource) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func share(percent float64) *float64 { return &percent }

func upstream(address string) Upstream {
	return Upstream{Address: address, Dial: address, Speaks: "HTTP", Weight: 1, Configured: 1, Weighable: true, Health: "up", Version: "u1"}
}

func group(name string, upstreams ...Upstream) Group {
	return Group{Name: name, Durations: make([]uint64, len(buckets{})), Upstreams: upstreams}
}

// shop is a route with all that a page can show.
func shop() Route {
	sick := upstream("https://10.0.0.2:8443")
	sick.Dial, sick.Health, sick.Since = "10.0.0.2:8443", "down", time.Now().Add(-time.Minute)
	sick.Problem, sick.Hint, sick.Fix = "certificate signed by unknown authority", "pin it", "tls_pin sha256/AAAA"
	sick.Certificate = &Certificate{State: "checked", Subject: "CN=app", NotAfter: time.Now().Add(100 * time.Hour)}
	return Route{
		Name: "shop", Label: "shop", Site: "shop.example.com", Split: share(10), Configured: 10, Version: "s1",
		Groups: []Group{group("production", upstream("10.0.0.1:80"), sick), group("staging", upstream("10.0.0.3:80"))},
		Release: &Release{Phase: "running", Steps: []float64{10, 50, 100}, Step: 1, Percent: 10, Reason: "waiting for requests",
			Evidence: []string{"errors: no worse", "latency: no worse"}, Approve: []float64{50}, Version: "r1"},
	}
}

// plainRoute is a route without a name or staging.
func plainRoute() Route {
	return Route{Label: "nas.example.com", Groups: []Group{group("production", upstream("192.168.1.5:80"))}}
}

func twoRoutes() *Snapshot {
	return &Snapshot{Routes: []Route{shop(), plainRoute()},
		Changes: []Change{{At: time.Now(), Route: "shop", What: "share", From: "5 %", To: "10 %", By: "anna"}}}
}

// manyRoutes returns as many routes with counts.
func manyRoutes(n int, count uint64) *Snapshot {
	s := new(Snapshot)
	for i := range n {
		r := shop()
		r.Name = fmt.Sprintf("route-%d", i)
		r.Label = r.Name
		for k := range r.Groups {
			g := &r.Groups[k]
			g.Requests, g.Errors = count*uint64(i+1), count
			g.Durations[i%len(g.Durations)] = g.Requests
		}
		s.Routes = append(s.Routes, r)
	}
	return s
}

// busyHistory is a full one of a snapshot's routes, whose lines go up and down.
func busyHistory(s *Snapshot) *History {
	h := NewHistory()
	begun := time.Now().Add(-remembered * time.Second)
	for i := range uint64(remembered) {
		for r := range s.Routes {
			s.Routes[r].Fallbacks += i * i % 7
			s.Routes[r].Retries += i * i % 11
			for k := range s.Routes[r].Groups {
				g := &s.Routes[r].Groups[k]
				g.Requests += 100 + i*i%97
				g.Errors += i * i % 13
				g.InFlight = int64(i * i % 17)
				g.Durations[i*i%12] += 100 + i*i%97
			}
		}
		h.Add(s, begun.Add(time.Duration(i)*time.Second))
	}
	return h
}
