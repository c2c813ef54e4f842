package steering

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// Caddy is killed right after each acknowledged change, and started again.
func TestAcknowledgedChangesSurviveAKill(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, c.BlueGreen(prod, stag, "traffic_split 50")))
	c.Start()
	for i := range lab.Sized(20, 50, 10) {
		// 0 and 100 show in the very first request, the others in what the API says
		percent := []float64{100, 0, 1 + float64(rand.IntN(98))}[i%3]
		c.Split(percent)
		c.Kill()
		c.Start()
		switch percent {
		case 0:
			c.Wants(http.StatusOK, "production")
		case 100:
			c.Wants(http.StatusOK, "staging")
		}
		if r := c.Route(); r.TrafficSplit != percent {
			t.Fatalf("change %d: %v %% was acknowledged; after the restart %v %% is in force", i, percent, r.TrafficSplit)
		}
	}
}

func TestInstancesOnOneStorageFollowEachOther(t *testing.T) {
	t.Parallel()
	const interval, instances = 500 * time.Millisecond, 3 // as quiet has it
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	var cluster []*child
	store := t.TempDir()
	for range instances {
		c := newChild(t)
		c.Store = store
		c.Write(adapt(t, c.BlueGreen(prod, stag, "traffic_split 10")))
		c.Start()
		cluster = append(cluster, c)
	}
	everywhere := func(percent float64) bool {
		for _, c := range cluster {
			if c.Route().TrafficSplit != percent {
				return false
			}
		}
		return true
	}

	for i, percent := range []float64{20, 100, 0, 35} {
		cluster[i%instances].Split(percent)
		acknowledged := time.Now()
		eventually(t, fmt.Sprintf("%v %% is in force everywhere", percent), func() bool { return everywhere(percent) })
		if took := time.Since(acknowledged); took > 2*interval {
			t.Errorf("the instances follow after %s, want two intervals of %s at most", took, interval)
		}
	}
	if r := cluster[1].Route(); r.Override.SetBy != "127.0.0.1" {
		t.Errorf("another instance shows the change as made by %q", r.Override.SetBy)
	}

	// a reset right after a change elsewhere, before the instance knows of that: it is told
	cluster[0].Split(60)
	status, answer := cluster[1].Ask(http.MethodDelete, "/proxyos/routes/app/override", "")
	if status == http.StatusConflict {
		if !strings.Contains(answer, "set to 60 %") || !strings.Contains(answer, `by \"127.0.0.1\"`) || cluster[1].Route().TrafficSplit != 60 {
			t.Errorf("the conflict is answered with %s, and %v %% is in force", answer, cluster[1].Route().TrafficSplit)
		}
		status, answer = cluster[1].Ask(http.MethodDelete, "/proxyos/routes/app/override", "")
	}
	if status != http.StatusOK {
		t.Errorf("the reset is answered with %d %s", status, answer)
	}
	eventually(t, "the configured split is in force everywhere", func() bool { return everywhere(10) })

	// changes on all at once end in one value everywhere
	var changers sync.WaitGroup
	for i, c := range cluster {
		changers.Go(func() {
			for n := range 5 {
				body := fmt.Sprintf(`{"traffic_split": %d}`, 11+10*i+n)
				status, answer := c.Ask(http.MethodPatch, "/proxyos/routes/app", body)
				for status == http.StatusConflict {
					status, answer = c.Ask(http.MethodPatch, "/proxyos/routes/app", body)
				}
				if status != http.StatusOK {
					t.Errorf("instance %d: %d %s", i, status, answer)
				}
			}
		})
	}
	changers.Wait()
	last := lab.Decode[struct {
		Routes map[string]struct {
			TrafficSplit float64 `json:"traffic_split"`
		} `json:"routes"`
	}](t, stored(cluster[0].Server)).Routes["app"].TrafficSplit
	ended := time.Now()
	eventually(t, fmt.Sprintf("the last stored split, %v %%, is in force everywhere", last), func() bool { return everywhere(last) })
	if took := time.Since(ended); took > 2*interval {
		t.Errorf("the instances agree after %s, want two intervals of %s at most", took, interval)
	}

	// one that was away follows when it is back
	cluster[2].Kill()
	cluster[0].Split(77)
	cluster[2].Start()
	if r := cluster[2].Route(); r.TrafficSplit != 77 {
		t.Errorf("an instance that was away comes back with %v %%, want 77", r.TrafficSplit)
	}
}
