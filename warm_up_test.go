package proxyos

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// sharesOf takes n turns, and returns how many each upstream has had.
func sharesOf(g *group, n int) map[string]int {
	counts := make(map[string]int)
	for range n {
		counts[g.pick(*g.seated.Load(), nil, nil, nil).Dial]++
	}
	return counts
}

// settle has the group find out what has happened to its upstreams.
func settle(g *group) {
	for range 2 {
		g.pick(*g.seated.Load(), nil, nil, nil)
		synctest.Wait()
	}
}

// An upstream that comes back gets max(10 %, t/period) of its turns, to the turn; the others share
// the rest by weight.
func TestAnUpstreamThatComesBackWarmsUp(t *testing.T) {
	for name, comeBack := range map[string]func(*group){
		"recovered": func(g *group) {
			g.breaker.failed("u0:80", time.Second)
			settle(g)
			time.Sleep(time.Second)
			g.breaker.succeeded("u0:80", 200, false)
			settle(g)
		},
		"ready": func(g *group) {
			g.targets[0].set.Store(&upstreamOverride{Drained: true})
			g.seat()
			g.targets[0].set.Store(nil)
			g.seat()
		},
	} {
		for _, weights := range [][]int{{1, 1, 1, 1}, {3, 1}, {1, 2, 3}, {9, 1, 1}} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const period = 30 * time.Second
					g := testGroup(weights)
					g.warmUps = newWarmUps(period)
					comeBack(g)
					began, total := time.Now(), 0
					for _, weight := range weights {
						total += weight
					}
					for _, at := range []time.Duration{0, time.Second, 3 * time.Second, 10 * time.Second, 15 * time.Second, 29 * time.Second, period, time.Hour} {
						time.Sleep(time.Until(began.Add(at)))
						synctest.Wait()
						settle(g) // where the period is over, a turn finds that out
						n := 1000 * total
						warm := min(1, max(0.1, at.Seconds()/period.Seconds()))
						counts := sharesOf(g, n)
						rest := float64(n) * (1 - warm*float64(weights[0])/float64(total))
						for i, u := range g.pool {
							want := float64(n) * warm * float64(weights[0]) / float64(total)
							if i > 0 {
								want = rest * float64(weights[i]) / float64(total-weights[0])
							}
							if math.Abs(float64(counts[u.Dial])-want) > 3 {
								t.Errorf("weights %v after %s: %s had %d of %d, want %.0f", weights, at, u.Dial, counts[u.Dial], n, want)
							}
						}
					}
				})
			})
		}
	}
}

// Where all of a group come back at once, somebody has to do the work.
func TestAGroupThatComesBackAsAWholeIsWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGroup([]int{1, 1, 1})
		g.warmUps = newWarmUps(30 * time.Second)
		for _, u := range g.pool {
			g.breaker.failed(u.Dial, time.Second)
		}
		settle(g)
		time.Sleep(time.Second)
		for _, u := range g.pool {
			g.breaker.succeeded(u.Dial, 200, false)
			time.Sleep(time.Second / 2)
		}
		settle(g)
		if counts := sharesOf(g, 300); counts["u0:80"] != 100 || counts["u1:80"] != 100 || counts["u2:80"] != 100 {
			t.Errorf("served have %v", counts)
		}
	})
}

// However the clock is read, somebody of those who came back is warm: else nobody would take a turn.
func TestSomebodyIsWarmWhereAllWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGroup([]int{1, 1, 1})
		g.warmUps = newWarmUps(time.Second)
		now := time.Now() // read before the others begin, by somebody who is slow
		for range 3 {
			time.Sleep(500 * time.Millisecond)
			for _, u := range g.pool {
				g.warmUps.begin(u)
				time.Sleep(200 * time.Millisecond)
			}
			if warming, _ := g.warmUps.among(g.pool, now); len(warming) >= len(g.pool) {
				t.Fatalf("all %d are warming up", len(warming))
			}
		}
	})
}
