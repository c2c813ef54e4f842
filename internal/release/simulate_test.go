package release

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// only returns the default plan with a tolerance for errors, and no other test.
func only(tolerance float64) Plan {
	p := DefaultPlan()
	p.Errors, p.Slower, p.MaxErrors = tolerance, 0, 0
	return p
}

// runs returns how many runs a simulation has: all with PROXYOS_LONG=1, or a part of them.
func runs(t testing.TB, all, part int) int {
	t.Helper()
	if os.Getenv("PROXYOS_LONG") != "" {
		return all
	}
	return part
}

func seeded(n int) *rand.Rand { return rand.New(rand.NewPCG(2011, uint64(n))) }

// geometric returns how many trials it takes until one succeeds.
func geometric(random *rand.Rand, p float64) int64 {
	if p >= 1 {
		return 1
	}
	if p <= 0 {
		return math.MaxInt64 / 4
	}
	return 1 + int64(min(random.ExpFloat64()/-math.Log1p(-p), math.MaxInt64/8))
}

// binomial returns how many of n trials succeed.
func binomial(random *rand.Rand, n int64, p float64) int64 {
	if p > 0.5 {
		return n - binomial(random, n, 1-p)
	}
	if mean := float64(n) * p; mean > 200 {
		return min(max(int64(math.Round(mean+random.NormFloat64()*math.Sqrt(mean*(1-p)))), 0), n)
	}
	k := int64(0)
	for at := geometric(random, p); at <= n; at += geometric(random, p) {
		k++
	}
	return k
}

// traffic is requests that a split divides evenly, with failures that are independent. It jumps from
// one failure to the next.
type traffic struct {
	random              *rand.Rand
	share               float64 // as a fraction
	staging, production float64 // how likely a request fails

	stagingAt, productionAt int64 // the number of the request of the group that fails next
}

func newTraffic(random *rand.Rand, share, staging, production float64) *traffic {
	t := &traffic{random: random, share: share, staging: staging, production: production}
	t.stagingAt, t.productionAt = geometric(random, staging), geometric(random, production)
	return t
}

// next returns whose request fails next, and how many the group has had then.
func (t *traffic) next() (isStaging bool, requests int64) {
	if float64(t.stagingAt)/t.share <= float64(t.productionAt)/(1-t.share) {
		requests = t.stagingAt
		t.stagingAt += geometric(t.random, t.staging)
		return true, requests
	}
	requests = t.productionAt
	t.productionAt += geometric(t.random, t.production)
	return false, requests
}

// untilFound returns after how many requests staging was found to fail too often, looking after
// each request; limit if it was not found before. Only the first round of a release is simulated.
func untilFound(p Plan, traffic *traffic, limit int64) int64 {
	g, enough := Groups{}, alarm(p.Confidence)
	perProduction := traffic.share / (1 - traffic.share)
	for {
		isStaging, requests := traffic.next()
		if !isStaging {
			g.Production.Failed++
			if float64(requests)*perProduction > float64(limit) {
				return limit
			}
			continue
		}
		if requests > limit {
			return limit
		}
		g.Staging.Failed++
		g.Staging.Judged, g.Staging.JudgedFailed = requests, g.Staging.Failed
		e := newEvidence(1).after(&p, g, 100*traffic.share)
		if e.Errors.log() >= enough {
			return requests
		}
		if e.MaxErrors.log() >= enough { // which is known as soon as they are judged
			limit = min(limit, requests+int64(math.Ceil(guardRequests*perProduction)))
		}
	}
}
