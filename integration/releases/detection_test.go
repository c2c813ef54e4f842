package releases

import (
	"net/http"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// How many requests staging answers until it is found out, at a share of 10 % and without tolerance,
// where production fails one of a hundred. What is answered until the next tick counts, too.
func TestABadVersionIsFoundWithFewRequests(t *testing.T) {
	t.Parallel()
	type way struct {
		name  string
		every int64 // how many requests of staging there are for one that fails
		rate  int   // requests a second
		most  int64 // of staging
	}
	ways := []way{{"10 times", 10, 200, 100}, {"5 times", 20, 500, 300}, {"3 times", 33, 1500, 900}}
	if !isLong {
		ways = ways[:1]
	}
	for _, test := range ways {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			prod, stag := backends(t)
			s := lab.NewApart(t)
			s.MustLoad(s.BlueGreen(prod, stag, "retry_budget off\nrelease {\nsteps 10\nhold 10m\nerrors 1x\nslower off\nmax_errors off\n}"))
			sick(prod, 100, http.StatusInternalServerError)
			sick(stag, test.every, http.StatusInternalServerError)
			act(s, `{"action": "start"}`)
			const clients = 10
			drive(t, s, clients, clients*time.Second/time.Duration(test.rate))
			awaitPhase(s, "rolled_back", time.Minute)
			if found := stag.Requests.Load(); found > test.most {
				t.Errorf("staging was found out after %d requests, want at most %d", found, test.most)
			} else {
				t.Logf("staging was found out after %d requests", found)
			}
		})
	}
}
