package proxyos

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What upstreams that are down leave to the others is shared by weight, exactly.
func TestThoseThatAreUpShareByWeight(t *testing.T) {
	random := rand.New(rand.NewPCG(16, 1))
	for round := range 200 {
		highest := 10
		if round%10 == 0 {
			highest = maxWeight // more turns than are made anew in no time
		}
		synctest.Test(t, func(t *testing.T) {
			weights := make([]int, 1+random.IntN(8))
			down, total := make(map[string]bool), 0
			for i := range weights {
				weights[i] = random.IntN(highest)
			}
			weights[0]++ // some turn must be somebody's
			g := testGroup(weights)
			for i, u := range g.pool {
				if down[u.Dial] = i > 0 && random.IntN(2) == 0; down[u.Dial] {
					g.breaker.failed(u.Dial, time.Hour)
				} else {
					total += weights[i]
				}
			}
			g.pick(*g.seated.Load(), nil, nil, nil) // which finds that somebody is down
			synctest.Wait()
			counts := make(map[string]int)
			for range 3 * total {
				counts[g.pick(*g.seated.Load(), nil, nil, nil).Dial]++
			}
			for i, u := range g.pool {
				want := 3 * weights[i]
				if down[u.Dial] {
					want = 0
				}
				if counts[u.Dial] != want {
					t.Errorf("weights %v, down %v: %s had %d of %d requests, want %d", weights, down, u.Dial, counts[u.Dial], 3*total, want)
				}
			}
		})
	}
}

// Whatever happens to upstreams, a request goes to one that is up if there is any, whether the
// lineup has been made anew or not; and once it has been, each that is up has its share.
func TestTurnsFollowWhatHappens(t *testing.T) {
	const period = 10 * time.Second
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(16, seed))
			weights := make([]int, 1+random.IntN(6))
			for i := range weights {
				weights[i] = 1 + random.IntN(3)
			}
			g := testGroup(weights)
			opened := make(map[string]time.Time) // the model: until when
			isUp := func(dial string) bool { return !time.Now().Before(opened[dial]) }
			for step := range 300 {
				dial := g.pool[random.IntN(len(g.pool))].Dial
				switch random.IntN(5) {
				case 0, 1:
					g.breaker.failed(dial, period)
					opened[dial] = time.Now().Add(period)
				case 2:
					g.breaker.forget(dial)
					delete(opened, dial)
				case 3:
					time.Sleep(time.Duration(random.Int64N(int64(period))))
				case 4:
					synctest.Wait()
				}
				up := 0
				for i, u := range g.pool {
					if isUp(u.Dial) {
						up += weights[i]
					}
				}
				got := g.pick(*g.seated.Load(), nil, nil, nil)
				switch {
				case got != nil && !isUp(got.Dial):
					t.Fatalf("seed %d, step %d: %s is picked, which is down", seed, step, got.Dial)
				case got == nil && up > 0 && len(opened) == 0:
					t.Fatalf("seed %d, step %d: nobody is picked though all are up", seed, step)
				case got != nil:
					g.breaker.forget(got.Dial) // it has answered, so that its trial is over
					delete(opened, got.Dial)
				}
			}
			clear(opened)
			for _, u := range g.pool {
				g.breaker.forget(u.Dial)
			}
			for range 2 { // the first may find that a lineup is being made, and ask for none
				g.pick(*g.seated.Load(), nil, nil, nil)
				synctest.Wait()
			}
			counts, total := make(map[string]int), 0
			for _, weight := range weights {
				total += weight
			}
			for range total {
				counts[g.pick(*g.seated.Load(), nil, nil, nil).Dial]++
			}
			for i, u := range g.pool {
				if counts[u.Dial] != weights[i] {
					t.Fatalf("seed %d: in the end %s had %d of %d turns, want %d", seed, u.Dial, counts[u.Dial], total, weights[i])
				}
			}
		})
	}
}

// An upstream is back in the lineup when its circuit is half-open, though no request has asked
// for it; and closing a group ends that.
func TestAnUpstreamIsBackWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGroup([]int{1, 1})
		g.breaker.failed("u0:80", 10*time.Second)
		g.pick(*g.seated.Load(), nil, nil, nil)
		synctest.Wait()
		if now := g.seated.Load().turns.lineups.current.Load(); now.order.Len() != 1 || !now.isSure(g.breaker) {
			t.Errorf("while one of two is down, the lineup is %+v", now)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if now := g.seated.Load().turns.lineups.current.Load(); now.order.Len() != 2 || !now.unsure {
			t.Errorf("while one of two is on trial, the lineup is %+v", now)
		}
		g.breaker.failed("u0:80", 10*time.Second)
		g.pick(*g.seated.Load(), nil, nil, nil)
		synctest.Wait()
		g.seated.Load().turns.lineups.close()
		last := g.seated.Load().turns.lineups.current.Load()
		time.Sleep(time.Minute)
		if g.seated.Load().turns.lineups.current.Load() != last {
			t.Error("a lineup was made for a closed group")
		}
	})
}

// Nobody is lost between requests that take turns and those that find upstreams down and up.
func TestTurnsWhileUpstreamsComeAndGo(t *testing.T) {
	g := testGroup([]int{3, 1, 2, 1})
	var group sync.WaitGroup
	stop := make(chan struct{})
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			dial := fmt.Sprintf("u%d:80", 1+i%3) // the first is always up
			g.breaker.failed(dial, time.Hour)
			g.breaker.forget(dial)
		}
	})
	for range 4 {
		group.Go(func() {
			for range 20_000 {
				if g.pick(*g.seated.Load(), nil, nil, nil) == nil {
					t.Error("nobody was picked though one is always up")
					return
				}
			}
		})
	}
	time.AfterFunc(300*time.Millisecond, func() { close(stop) })
	group.Wait()
}

// One that is back is found by the turns also while another is on trial.
func TestAnUpstreamThatIsBackIsFoundDuringATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGroup([]int{1, 1, 1})
		g.breaker.failed("u1:80", 0) // half-open, and nobody answers its trials
		turns := g.seated.Load().turns
		turns.lineups.replace(turns, g)
		stale := *turns.lineups.current.Load()
		stale.order = turns.orderAmong([]int{1, 2})
		stale.down, stale.looks = g.pool[:1], turns.orderAmong([]int{0})
		turns.lineups.current.Store(&stale)
		if counts := sharesOf(g, 30); counts["u0:80"] < 10 {
			t.Errorf("an upstream that is back while another is on trial had %d of 30 requests", counts["u0:80"])
		}
	})
}
