package steering

import (
	"math"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Staging is killed, becomes a black hole, and comes back, while clients send requests: the
// clients notice nothing.
func TestAStagingThatDiesCostsNobodyARequest(t *testing.T) {
	const atLeast, clients = 20_000, 32
	prod, stag := plain(t, "production", ""), newProcess(t, "staging")
	stag.start()
	s := newServer(t)
	s.MustLoad(quiet + s.Site(blueGreenDirective(prod.Addr, stag.addr, "traffic_split 30", "fail_duration 1s",
		"transport http {\nresponse_header_timeout 300ms\n}")))

	load := drive(t, s.URL, clients, math.MaxInt64) // for as long as it takes
	load.past(t, 4000)
	if r := s.Route(); r.Fallbacks != 0 {
		t.Errorf("%d fallbacks while staging is well", r.Fallbacks)
	}
	stag.kill()
	load.past(t, 9000)
	killed := s.Route()
	if killed.Fallbacks == 0 {
		t.Error("no fallback is counted while staging is dead")
	}
	hole := proxytest.ServeRaw(t, proxytest.Listen(t, stag.addr), proxytest.Hang)
	load.past(t, 10_000)
	eventually(t, "staging is tried again", func() bool { return hole.Conns.Load() > 0 })
	load.past(t, 15_000)
	hole.Close()
	stag.start()
	back := time.Now()
	before := s.Route()
	if before.Fallbacks <= killed.Fallbacks {
		t.Error("no fallback is counted while staging is a black hole")
	}
	load.past(t, atLeast)
	load.stop()

	load.wantsNoError(t)
	requests := uint64(load.answered())
	if requests < atLeast {
		t.Errorf("%d requests are answered, fewer than %d", requests, atLeast)
	}
	r := s.Route()
	if total := r.Groups[production].Requests + r.Groups[staging].Requests; total != requests {
		t.Errorf("%d requests are counted, %d answered", total, requests)
	}
	if want := (requests*30+49)/100 - r.Groups[staging].Requests; r.Fallbacks != want {
		t.Errorf("%d fallbacks are counted; staging lacks %d of its 30 %%", r.Fallbacks, want)
	}
	// staging has its share again within seconds
	for {
		fallbacks := s.Route().Fallbacks
		counts := s.Tally(10)
		if s.Route().Fallbacks == fallbacks && counts["staging"] == 3 {
			break
		}
		if time.Since(back) > 5*time.Second {
			t.Fatalf("5 s after it came back staging gets %d of 10 requests", counts["staging"])
		}
		time.Sleep(20 * time.Millisecond)
	}
	if counts := s.Tally(1000); counts["staging"] != 300 || counts["production"] != 700 {
		t.Errorf("after it came back, 1000 requests went to %v, want 300 to staging", counts)
	}
}
