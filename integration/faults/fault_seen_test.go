package faults

import (
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
)

// faultClients is how many clients there are at once.
const faultClients = 32

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
		for _, p := range allPlaces {
			methods := []string{http.MethodGet, http.MethodPost}
			if f.slow && (f.damage == harmless || f.damage == cutShort) {
				methods = methods[1:] // it makes no difference: nothing is ever sent again
			}
			for _, method := range methods {
				t.Run(f.name+"/"+p.name+"/"+method, func(t *testing.T) {
					s, bad := runFault(t, f, p)
					requests := 96 // in whole rounds of the turns and of the split, for exact shares
					if f.slow {
						requests = 48
					}
					seen := seenByCrowd(s, method, requests)
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
					case failed == 0, failed > p.bad*faultClients:
						// the first failure marks the upstream down, so that only what is under way
						// there already can follow: at most one request of each client
						t.Errorf("%d requests are answered with %d, want some, and at most %d", failed, f.status, p.bad*faultClients)
					}
					if p.others > 0 {
						// the split is unmoved: production's troubles never spill into staging
						wantsSeen(t, seen, "other", p.others*requests/24)
					}
					if total := seen["good"] + seen["other"] + seen["bad"] + seen["cut short"] + seen[strconv.Itoa(f.status)]; total != requests {
						t.Errorf("%d requests ended in another way: %v", requests-total, seen)
					}
					wantsAttempts(t, s.Route(), f, p, bad, turns)
				})
			}
		}
	}
}

// runFault runs a route named app of upstreams that have a fault, and are returned, and
// others that are sound.
func runFault(t *testing.T, f fault, p place) (s *server, bad []string) {
	t.Helper()
	for range p.bad {
		bad = append(bad, f.start(t))
	}
	addresses, subdirectives := p.route(bad, plain(t, "good", "").Addr, plain(t, "other", "").Addr)
	if f.transport != "" {
		subdirectives += "transport http {\n" + f.transport + "\n}\n"
	}
	return lab.RunQuietly(t, "proxyos "+addresses+" {\nname app\n"+subdirectives+"}"), bad
}

// seenByCrowd sends requests from many clients at once, and counts what they see.
func seenByCrowd(s *server, method string, requests int) map[string]int {
	var left atomic.Int64
	left.Store(int64(requests))
	var mu sync.Mutex
	seen := make(map[string]int)
	var clients sync.WaitGroup
	for range faultClients {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				sight := sight(s, s.Request(method, "/", nil))
				mu.Lock()
				seen[sight]++
				mu.Unlock()
			}
		})
	}
	clients.Wait()
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

// wantsAttempts checks how often the upstreams with the fault were asked, that they are
// marked down if the requests failed, and that no request counts as under way for ever.
func wantsAttempts(t *testing.T, r route, f fault, p place, bad []string, turns int) {
	t.Helper()
	failing := f.damage == undelivered || f.damage == unanswered
	var attempts, errors uint64
	for _, g := range r.Groups {
		if g.InFlight != 0 {
			t.Errorf("%d requests of %s are under way after the last", g.InFlight, g.Name)
		}
		for _, u := range g.Upstreams {
			wantHealth := "up"
			if slices.ContainsFunc(bad, func(address string) bool { return strings.HasSuffix(address, u.Dial) }) {
				attempts, errors = attempts+u.Requests, errors+u.Errors
				if failing && !p.isAlone {
					wantHealth = "down"
				}
				// a retry never goes back to it, and nothing goes there once it is marked down
				if failing && !p.isAlone && u.Requests > faultClients {
					t.Errorf("%s was asked %d times by %d clients", u.Address, u.Requests, faultClients)
				}
			} else if u.Errors != 0 {
				t.Errorf("the sound upstream %s has failed %d times", u.Address, u.Errors)
			}
			if u.InFlight != 0 || u.Health != wantHealth {
				t.Errorf("%s is %s, want %s, and %d requests are under way there", u.Address, u.Health, wantHealth, u.InFlight)
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
