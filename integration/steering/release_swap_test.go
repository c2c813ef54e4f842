package steering

import (
	"math"
	"net/http"
	"strings"
	"testing"
)

// The release of docs/blue-green.md from the promotion on: once everybody has the next
// version, nobody gets the old one again, neither in the swap nor after it.
func TestTheSwapSendsNobodyBack(t *testing.T) {
	s, old, next := blueGreen(t, "traffic_split 0", "sticky cookie")
	s.Wants(http.StatusOK, "production")
	s.Split(100)
	before := old.Requests.Load()

	load := drive(t, s.URL, 8, math.MaxInt64)
	load.reloading.Store(true)
	load.past(t, 200)
	s.MustLoad(s.BlueGreen(old, next, "traffic_split 100", "sticky cookie"))
	load.past(t, 400)
	s.MustLoad(s.BlueGreen(next, old, "traffic_split 0", "sticky cookie"))
	load.past(t, 600)
	load.stop()
	load.wantsNoError(t)
	if n := old.Requests.Load() - before; n != 0 {
		t.Errorf("%d requests went back to the old version", n)
	}
	if r := s.Route(); r.TrafficSplit != 0 || r.Override != nil || !strings.HasSuffix(next.Addr, r.Groups[production].Upstreams[0].Dial) {
		t.Errorf("after the swap, shown is %+v", r)
	}
	s.Split(100) // rolls back
	s.Wants(http.StatusOK, "production")
	if n := old.Requests.Load() - before; n != 1 {
		t.Errorf("after the rollback the old version had %d requests, want 1", n)
	}
}
