package clustertest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Suite is what every storage must pass. Most of the time a case waits, so they run beside each
// other, each on a cluster and a storage of its own.
func Suite(t *testing.T, binary string, newStorage func(testing.TB) Storage) {
	for name, test := range map[string]func(*testing.T, *Cluster, Storage){
		"the promoted share is rolled out":                 rollOut,
		"the storage is emptied":                           empty,
		"the storage goes back":                            goBack,
		"a newer instance writes":                          newerFields,
		"an instance starts while the document is damaged": damaged,
		"the version is at its limit":                      versionAtItsLimit,
		"instances with other configured shares":           differing,
		"all change the share at once":                     concurrent,
		"the instances know each other":                    known,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage := newStorage(t)
			test(t, New(t, binary, storage, 0), storage)
		})
	}
}

// Blue is stopped after the promotion: no request may go there.
func rollOut(t *testing.T, c *Cluster, storage Storage) {
	c.Instances[0].Set(100)
	c.Agree(100)
	allKnown(t, storage)
	c.Production.Stop()
	c.Only("staging", func() {
		c.Instances[0].Reload(100)
		c.Stay(100, 4)
		c.Instances[2].Kill() // one that is not rolled out yet
		c.Instances[2].Start(0)
		c.Instances[0].Kill() // one that is
		c.Instances[0].Start(100)
		c.Stay(100, 3)
		c.Instances[1].Reload(100)
		c.Instances[0].Reload(100)
		c.Stay(100, 3)
		c.Instances[2].Reload(100)
		c.Stay(100, 3)
	})
	nextRelease(t, c)
}

// nextRelease swaps the groups, as docs/blue-green.md says, and begins to release the next
// version.
func nextRelease(t *testing.T, c *Cluster) {
	c.Production, c.Staging = c.Staging, proxytest.Plain(t, "next", "")
	for _, i := range c.Instances {
		i.Reload(0)
	}
	for n, percent := range []float64{10, 100, 0} {
		c.Instances[n].Set(percent)
		c.Agree(percent)
	}
	c.Stay(0, 2)
}

// allKnown waits until all instances are in the document, and write it no more: one that is
// killed before may leave the lock behind, and one that writes it undoes what a test writes, which
// takes no lock.
func allKnown(t *testing.T, storage Storage) {
	t.Helper()
	proxytest.Eventually(t, "all instances are known", func() bool {
		return strings.Count(string(storage.Read()), ": 0") >= 4 // against, and three of them
	})
	time.Sleep(Interval) // the lock is released after the document is written
}

func empty(t *testing.T, c *Cluster, storage Storage) {
	c.Instances[1].Set(100)
	c.Agree(100)
	allKnown(t, storage)
	c.Only("staging", func() {
		for range 2 {
			storage.Lose(t)
			c.Stay(100, 4)
			proxytest.Eventually(t, "the document is written again", func() bool { return len(storage.Read()) > 0 })
		}
		c.Instances[0].Kill()
		c.Instances[0].Start(0)
		c.Stay(100, 2)
	})
	for n, i := range c.Instances[1:] {
		if logged := len(i.Logs.Entries("are missing")); logged > 2 {
			t.Errorf("instance %d logs %d times that the document is missing", n, logged)
		}
	}
}

func goBack(t *testing.T, c *Cluster, storage Storage) {
	c.Instances[0].Set(20)
	c.Agree(20)
	allKnown(t, storage)
	backup := storage.Read()
	c.Instances[1].Set(30)
	c.Agree(30)
	c.Served(func() {
		storage.Write(t, backup)
		c.Agree(20)
		c.Stay(20, 2)
		c.Instances[2].Set(40)
		c.Agree(40)
	})
}

func newerFields(t *testing.T, c *Cluster, storage Storage) {
	c.Instances[0].Set(100)
	c.Agree(100)
	allKnown(t, storage)
	c.Only("staging", func() {
		storage.Write(t, []byte(strings.Replace(string(storage.Read()), `"traffic_split"`, `"weights": {"a": 1}, "traffic_split"`, 1)))
		c.Stay(100, 4)
	})
	c.Instances[1].Set(60)
	c.Agree(60)
	if document := string(storage.Read()); !strings.Contains(document, `"weights"`) {
		t.Errorf("the unknown field is lost: %s", document)
	}
}

func damaged(t *testing.T, c *Cluster, storage Storage) {
	c.Instances[0].Set(100)
	c.Agree(100)
	allKnown(t, storage)
	was := string(storage.Read())
	c.Instances[2].Kill()
	stops := []func() map[string]int{c.Instances[0].Drive(), c.Instances[1].Drive()}
	for range 3 {
		storage.Write(t, []byte{})
		c.Instances[2].Start(0)
		c.Agree(100) // the healthy ones write it again, and the new one follows
		c.Stay(100, 2)
		c.Instances[2].Kill()
	}
	for n, stop := range stops {
		if answers := stop(); len(answers) != 1 || answers["staging"] == 0 {
			t.Errorf("instance %d has answered %v, want only staging", n, answers)
		}
	}
	if got := string(storage.Read()); got != was && !strings.Contains(got, `"traffic_split": 100`) {
		t.Errorf("the document was\n%s\nand is\n%s", was, got)
	}
}

func versionAtItsLimit(t *testing.T, c *Cluster, storage Storage) {
	c.Served(func() {
		storage.Write(t, []byte(`{"version": 9007199254740992, "routes": {"app": {"traffic_split": 15, "against": 0, "set_at": "2024-05-01T10:00:00Z"}}}`))
		c.Agree(15)
		for n, percent := range []float64{25, 35, 45} {
			c.Instances[n].Set(percent)
			c.Agree(percent)
		}
	})
}

// In the middle of a rollout, a first share is meant for all instances, whatever each has
// configured.
func differing(t *testing.T, c *Cluster, _ Storage) {
	for n, configured := range []float64{0, 10, 20} {
		c.Instances[n].Reload(configured)
	}
	proxytest.Eventually(t, "all instances are listed as they are configured", func() bool {
		_, output := c.Instances[0].Command("list", "--cluster")
		return strings.Contains(output, " 10 %") && strings.Contains(output, " 20 %")
	})
	c.Instances[1].Set(50)
	c.Agree(50)
	c.Stay(50, 3)
	c.Instances[2].Reload(30) // is edited
	if first, third := c.Instances[0].Share(), c.Instances[2].Share(); first != 50 || third != 30 {
		t.Errorf("once the third is edited to 30 %%, it has %v %%, and the first %v %%", third, first)
	}
}

// changesAtOnce is how many changes are under way at the same time.
const changesAtOnce = 150

func concurrent(t *testing.T, c *Cluster, storage Storage) {
	c.Instances[0].Set(5)
	c.Agree(5)
	allKnown(t, storage)
	var changers sync.WaitGroup
	var acknowledged atomic.Int64
	for change := range changesAtOnce {
		i := c.Instances[change%len(c.Instances)]
		changers.Go(func() {
			status, answer := i.Ask(http.MethodPatch, "/proxyos/routes/app", fmt.Sprintf(`{"traffic_split": %v}`, 10+float64(change)/10))
			switch status {
			case http.StatusOK:
				acknowledged.Add(1)
			case http.StatusConflict:
			default:
				t.Errorf("change %d: %d %s", change, status, answer)
			}
		})
	}
	changers.Wait()
	t.Logf("%d of %d changes at once are acknowledged", acknowledged.Load(), changesAtOnce)
	time.Sleep(2 * Interval)
	share := c.Instances[0].Share()
	c.Agree(share)
	if share == 5 || !strings.Contains(string(storage.Read()), fmt.Sprintf(`"traffic_split": %v`, share)) {
		t.Errorf("%v %% is in force, and stored is %s", share, storage.Read())
	}
}

func known(t *testing.T, c *Cluster, _ Storage) {
	first := c.Instances[0]
	c.Agree(0)
	proxytest.Eventually(t, "all instances are listed", func() bool {
		_, output := first.Command("list", "--cluster")
		return strings.Count(output, "0 %") == 2*3
	})
	if code, output := first.Command("promote", "app", "--cluster"); code != 0 {
		t.Errorf("promote --cluster exits with %d:\n%s", code, output)
	}
	for n, i := range c.Instances {
		if share := i.Share(); share != 100 {
			t.Errorf("promote --cluster has ended, and instance %d has %v %%", n, share)
		}
	}
	if code, output := first.Command("list", "--cluster"); code != 0 || strings.Count(output, "100 %") != 3 || strings.Contains(output, "differs") {
		t.Errorf("list --cluster exits with %d:\n%s", code, output)
	}
	c.Instances[2].Kill()
	if code, output := first.Command("rollback", "app", "--cluster", "--drain", "3s"); code != 4 || !strings.Contains(output, "has 100 %") {
		t.Errorf("with an instance that is gone, rollback --cluster exits with %d:\n%s", code, output)
	}
	if _, output := first.Command("list", "--cluster"); strings.Count(output, "differs") != 1 {
		t.Errorf("the instance that is gone is not marked:\n%s", output)
	}
}
