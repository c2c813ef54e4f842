package faults

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// place is where in a route there are upstreams with a fault.
type place struct {
	name    string
	route   func(bad []string, good, other string) (addresses, subdirectives string)
	bad     int // how many upstreams have the fault
	turns   int // of 24 requests, those whose turn falls on them
	others  int // of 24 requests, those for staging where that is sound
	isAlone bool
}

var allPlaces = []place{
	{
		name: "the only upstream", bad: 1, turns: 24, isAlone: true,
		route: func(bad []string, _, _ string) (string, string) { return bad[0], "" },
	}, {
		name: "one of three", bad: 1, turns: 8,
		route: func(bad []string, good, other string) (string, string) { return bad[0] + " " + good + " " + other, "" },
	}, {
		name: "all of staging", bad: 2, turns: 6,
		route: func(bad []string, good, _ string) (string, string) {
			return good, "staging " + strings.Join(bad, " ") + "\ntraffic_split 25\n"
		},
	}, {
		name: "one of production", bad: 1, turns: 9, others: 6,
		route: func(bad []string, good, other string) (string, string) {
			return bad[0] + " " + good, "staging " + other + "\ntraffic_split 25\n"
		},
	},
}

// faultsTable is the columns of the table in docs/faults.md, one for each place, by what the
// fault does. %d is the status.
var faultsTable = map[damage]string{
	harmless:    "all is served, late | its share is served late | its share is served late | its share is served late",
	undelivered: "%d | nothing | nothing, production answers | nothing",
	unanswered:  "%d | GET: nothing; others: %d until it is avoided | GET: nothing, production answers; others: %d until it is avoided | GET: nothing; others: %d until it is avoided",
	cutShort:    "all answers break off | its share breaks off | staging's share breaks off | its share breaks off",
}

func TestTheTableOfFaultsIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range allFaults {
		row := "| " + f.name + " | " + strings.ReplaceAll(faultsTable[f.damage], "%d", strconv.Itoa(f.status)) + " |\n"
		if !strings.Contains(string(text), row) {
			t.Errorf("the table has no row\n%s", row)
		}
	}
}

func TestWhatClientsSeeOfAFault(t *testing.T) {
	for _, f := range allFaults {
		methods := []string{http.MethodGet, http.MethodPost}
		if f.slow && (f.damage == harmless || f.damage == cutShort) {
			methods = methods[1:] // it makes no difference: nothing is ever sent again
		}
		for _, method := range methods {
			t.Run(f.name+"/"+method, func(t *testing.T) {
				tests := make(map[string]func(*testing.T))
				for _, site := range f.run(t) {
					tests[site.place.name] = func(t *testing.T) { site.seesAsDocumented(t, method) }
				}
				if f.slow && lab.Sized(1, 0, 0) == 1 {
					proxytest.Together(t, tests)
					return
				}
				for name, test := range tests {
					t.Run(name, test)
				}
			})
		}
	}
}

// faultySite is a route of upstreams of which some have a fault.
type faultySite struct {
	*server
	fault fault
	place place
	route string   // its name
	path  string   // of its requests
	bad   []string // the upstreams that have the fault
}

// seesAsDocumented sends requests, and checks what their clients see and that none counts as under
// way for ever.
func (s faultySite) seesAsDocumented(t *testing.T, method string) {
	s.server = &server{Caddy: s.Caddy, T: t}
	f, p := s.fault, s.place
	clients, requests := 32, 96 // in whole rounds of the turns and of the split, for exact shares
	if f.slow {
		clients, requests = lab.Sized(16, 32, 32), lab.Sized(24, 48, 48)
	}
	seen := seenByCrowd(s, method, clients, requests)
	turns, failed := p.turns*requests/24, seen[strconv.Itoa(f.status)]
	switch {
	case f.damage == harmless:
		// the slow one keeps its share: it has failed in nothing
		wantsSeen(t, seen, "bad", turns)
	case f.damage == cutShort:
		// each of its turns: what has begun can be given by nobody else, and a
		// header that came in time is no failure to Caddy's passive check
		wantsSeen(t, seen, "cut short", turns)
	case p.isAlone:
		// there is nobody else, and without a passive check it is asked each time
		wantsSeen(t, seen, strconv.Itoa(f.status), requests)
	case f.damage == undelivered, method == http.MethodGet:
		// sent again elsewhere; where staging has nobody, to production
		wantsSeen(t, seen, strconv.Itoa(f.status), 0)
	case failed == 0, failed > p.bad*clients:
		// the first failure marks the upstream down, so that only what is under way
		// there already can follow: at most one request of each client
		t.Errorf("%d requests are answered with %d, want some, and at most %d", failed, f.status, p.bad*clients)
	}
	if p.others > 0 {
		// the split is unmoved: production's troubles never spill into staging
		wantsSeen(t, seen, "other", p.others*requests/24)
	}
	if total := seen["good"] + seen["other"] + seen["bad"] + seen["cut short"] + seen[strconv.Itoa(f.status)]; total != requests {
		t.Errorf("%d requests ended in another way: %v", requests-total, seen)
	}
	eventually(t, "no request counts as under way", func() bool { return inFlight(s.Named(s.route)) == 0 })
	wantsAttempts(t, s.Named(s.route), f, p, s.bad, clients, turns)
}

// run runs a route for each place, of upstreams that have the fault and others that are sound.
func (f fault) run(t *testing.T) (sites []faultySite) {
	t.Helper()
	s := newServer(t)
	var routes strings.Builder
	for i, p := range allPlaces {
		site := faultySite{server: s, fault: f, place: p, route: fmt.Sprint("app", i), path: fmt.Sprint("/", i)}
		for range p.bad {
			site.bad = append(site.bad, f.start(t))
		}
		addresses, subdirectives := p.route(site.bad, plain(t, "good", "").Addr, plain(t, "other", "").Addr)
		if f.transport != "" {
			subdirectives += "transport http {\n" + f.transport + "\n}\n"
		}
		fmt.Fprintf(&routes, "handle %s {\nproxyos %s {\nname %s\n%s}\n}\n", site.path, addresses, site.route, subdirectives)
		sites = append(sites, site)
	}
	s.MustLoad("{\nlog {\nlevel ERROR\n}\n}\n" + s.Site(routes.String()))
	return sites
}

// seenByCrowd sends requests from many clients at once, and counts what they see.
func seenByCrowd(s faultySite, method string, clients, requests int) map[string]int {
	var left atomic.Int64
	left.Store(int64(requests))
	var mu sync.Mutex
	seen := make(map[string]int)
	var crowd sync.WaitGroup
	for range clients {
		crowd.Go(func() {
			for left.Add(-1) >= 0 {
				sight := sight(s.server, s.Request(method, s.path, nil))
				mu.Lock()
				seen[sight]++
				mu.Unlock()
			}
		})
	}
	crowd.Wait()
	return seen
}

// sight is what a client sees: who gave a whole answer, "cut short" for a part of one, the
// status of any other, or the error where there is none.
func sight(s *server, req *http.Request) string {
	res, err := s.Client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "cut short"
	case res.StatusCode != http.StatusOK:
		return strconv.Itoa(res.StatusCode)
	case strings.Trim(string(body), "slow") == "":
		return "bad"
	}
	return string(body)
}

func wantsSeen(t *testing.T, seen map[string]int, sight string, want int) {
	t.Helper()
	if seen[sight] != want {
		t.Errorf("%d requests are answered with %q, want %d; all answers: %v", seen[sight], sight, want, seen)
	}
}

// wantsAttempts checks how often the upstreams with the fault were asked, and that they are
// marked down if the requests failed.
func wantsAttempts(t *testing.T, r route, f fault, p place, bad []string, clients, turns int) {
	t.Helper()
	failing := f.damage == undelivered || f.damage == unanswered
	var attempts, errors uint64
	for _, g := range r.Groups {
		for _, u := range g.Upstreams {
			wantHealth := "up"
			if slices.ContainsFunc(bad, func(address string) bool { return strings.HasSuffix(address, u.Dial) }) {
				attempts, errors = attempts+u.Requests, errors+u.Errors
				if failing && !p.isAlone {
					wantHealth = "down"
				}
				// a retry never goes back to it, and nothing goes there once it is marked down
				if failing && !p.isAlone && u.Requests > uint64(clients) {
					t.Errorf("%s was asked %d times by %d clients", u.Address, u.Requests, clients)
				}
			} else if u.Errors != 0 {
				t.Errorf("the sound upstream %s has failed %d times", u.Address, u.Errors)
			}
			if u.Health != wantHealth {
				t.Errorf("%s is %s, want %s", u.Address, u.Health, wantHealth)
			}
		}
	}
	if failing && (attempts == 0 || errors != attempts) {
		t.Errorf("%d of %d attempts failed, want all", errors, attempts)
	}
	if !failing && (attempts != uint64(turns) || errors != 0) {
		t.Errorf("%d attempts, of which %d failed, want %d and none", attempts, errors, turns)
	}
}
