package proxyos

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever the requests and failures are like, there are no more retries than the budget allows.
func TestTheRetryBudgetIsKept(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(5, seed))
			var requests uint64
			b := newRetryBudget(nil, func() uint64 { return requests })
			type moment struct {
				at                time.Time
				requests, retries int
			}
			var past []moment
			began, total := time.Now(), 0
			rate, failing := 100, 0.0
			for range 3000 {
				time.Sleep(10 * time.Millisecond)
				if random.IntN(300) == 0 {
					rate, failing = 1+random.IntN(2000), float64(random.IntN(3))/2
				}
				now := moment{at: time.Now()}
				for range rate/100 + 1 {
					requests++
					now.requests++
					if random.Float64() < failing && b.take() {
						now.retries++
					}
				}
				past = append(past, now)
				total += now.retries
				if limit := float64(requests)/5 + 10*(now.at.Sub(began).Seconds()+10); float64(total) > limit+20 {
					t.Fatalf("seed %d: %d retries of %d requests in %s", seed, total, requests, now.at.Sub(began))
				}
				if now.retries == 0 {
					continue
				}
				inAll, again := 0, 0
				for i, one := range past[max(0, len(past)-1100):] { // ten whole seconds are in eleven, and nine are in them
					if inAll += one.requests; len(past) < 1100 || i >= 200 {
						again += one.retries
					}
				}
				// what is before the eleven seconds may have been estimated
				if limit := 1.2*float64(inAll)/5 + 110; float64(again) > limit {
					t.Fatalf("seed %d: %d retries within nine seconds, of %d requests within eleven", seed, again, inAll)
				}
			}
		})
	}
}

func TestARetryBudgetInAStorm(t *testing.T) {
	for name, test := range map[string]struct {
		config *RetryBudget
		want   int // of 500 requests a second for 30 s, each of which wants two retries
	}{
		"default":        {nil, 15000/5 + 300},
		"5 % only":       {&RetryBudget{Percent: new(5.0), MinPerSecond: new(0)}, 750},
		"none":           {&RetryBudget{Percent: new(0.0), MinPerSecond: new(0)}, 0},
		"only a minimum": {&RetryBudget{Percent: new(0.0), MinPerSecond: new(3)}, 90},
		"off":            {&RetryBudget{Off: true}, 30000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests uint64
				b := newRetryBudget(test.config, func() uint64 { return requests })
				for range 100 { // an hour before, there were a few
					requests++
				}
				time.Sleep(time.Hour)
				retries := 0
				for range 15000 {
					time.Sleep(2 * time.Millisecond)
					requests++
					for range 2 {
						if b.take() {
							retries++
						}
					}
				}
				if retries > test.want+test.want/10+1 || retries < test.want*7/10 {
					t.Errorf("%d retries, want about %d", retries, test.want)
				}
			})
		})
	}
}

func TestAFewFailuresAreAlwaysRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests uint64
		b := newRetryBudget(nil, func() uint64 { return requests })
		for i := range 600 { // one request a second, of which each second fails
			time.Sleep(time.Second)
			if requests++; i%2 == 0 && !b.take() {
				t.Fatalf("request %d is not retried", i)
			}
		}
		if b.take() {
			b.giveBack()
		}
	})
}
