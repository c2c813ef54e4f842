package steering

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
)

func TestTheSplitIsExact(t *testing.T) {
	old, also, next := plain(t, "old", ""), plain(t, "also old", ""), plain(t, "next", "")
	for _, c := range []struct {
		percent  string
		requests int
		want     map[string]int
	}{
		{"0", 50, map[string]int{"old": 25, "also old": 25}},
		{"10", 100, map[string]int{"old": 45, "also old": 45, "next": 10}},
		{"10", 1000, map[string]int{"old": 450, "also old": 450, "next": 100}},
		{"33.3", 1000, map[string]int{"old": 334, "also old": 333, "next": 333}},
		{"99.9", 1000, map[string]int{"old": 1, "next": 999}},
		{"100", 50, map[string]int{"next": 50}},
	} {
		t.Run(fmt.Sprintf("%s%% of %d", c.percent, c.requests), func(t *testing.T) {
			bothWays(t, fmt.Sprintf("proxyos %s %s {\nstaging %s\ntraffic_split %s%%\n}", old.Addr, also.Addr, next.Addr, c.percent),
				fmt.Sprintf(`{"handler": "proxyos", "upstreams": [%q, %q], "staging": {"upstreams": [%q]}, "traffic_split": %s}`, old.Addr, also.Addr, next.Addr, c.percent),
				func(t *testing.T, s *server) {
					if got := s.Tally(c.requests); !maps.Equal(got, c.want) {
						t.Errorf("got %v, want %v", got, c.want)
					}
				})
		})
	}
}

func TestTheSplitIsWithinHalfARequestAtEveryPrefix(t *testing.T) {
	old, next := plain(t, "old", ""), plain(t, "next", "")
	s := run(t, fmt.Sprintf("proxyos %s {\nstaging %s\ntraffic_split 10\n}", old.Addr, next.Addr))
	for n := int64(1); n <= 500; n++ {
		if status, body := s.Get("/"); status != http.StatusOK {
			t.Fatalf("request %d: %d %s", n, status, body)
		}
		if off := 10*next.Requests.Load() - n; off < -5 || off > 5 {
			t.Fatalf("of %d requests staging has had %d", n, next.Requests.Load())
		}
	}
}

func TestTheSplitIsOfTheGroupsWhateverTheirSizes(t *testing.T) {
	old := []*backend{plain(t, "1", ""), plain(t, "2", ""), plain(t, "3", "")}
	next := plain(t, "next", "")
	s := run(t, fmt.Sprintf(`proxyos %s %s {
		upstream %s {
			weight 8
		}
		staging %s
		traffic_split 10
	}`, old[0].Addr, old[1].Addr, old[2].Addr, next.Addr))
	if got, want := s.Tally(1000), map[string]int{"1": 90, "2": 90, "3": 720, "next": 100}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
