package releases

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// steady is a release of some seconds.
const steady = `header_down X-Group {http.proxyos.group}
	release {
		steps 10 30 100
		hold 1s
		min_requests 20
		slower off
	}`

// While the storage takes nothing, traffic goes on as it is, the release waits, and an error says so
// once. It goes on once the storage is well, or has been written again.
func TestAReleaseWaitsForItsStorage(t *testing.T) {
	t.Parallel()
	damage := func(s *server) {
		lab.Replace(s.T, filepath.Join(s.Store, "proxyos", "overrides.json"), []byte(`{"format": 1, "routes": {`))
	}
	ways := map[string]func(*server){
		"read-only": func(s *server) { s.Spoil(lab.ReadOnly) },
		"full":      func(s *server) { s.Spoil(lab.Full) },
		"down": func(s *server) {
			s.Spoil(lab.Faults{Fails: map[string]syscall.Errno{"lock": syscall.EIO, "load": syscall.EIO, "store": syscall.EIO, "list": syscall.EIO}})
		},
		"slow":    func(s *server) { s.Spoil(lab.Slow("lock", time.Minute)) },
		"damaged": damage,
	}
	for name, spoil := range ways {
		if !isLong && name != "full" && name != "damaged" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prod, stag := backends(t)
			s := lab.NewApart(t)
			s.MustLoad(s.OnFickle(s.BlueGreen(prod, stag, steady)))
			l := drive(t, s, 8, time.Millisecond)
			act(s, `{"action": "start"}`)
			spoil(s)
			if name != "damaged" {
				const message = "the storage does not take what was decided about a release"
				eventually(t, "it is logged", func() bool { return len(s.Logs.Entries(message)) == 1 })
				time.Sleep(3 * time.Second)
				if now := statusOf(s); now.Phase != "running" || now.Percent != 10 || s.Route().TrafficSplit != 10 {
					t.Errorf("it is %+v, and the share is %v %%", now, s.Route().TrafficSplit)
				}
				if lines := s.Logs.Entries(message); len(lines) != 1 || lines[0]["level"] != "error" {
					t.Errorf("logged is %v", lines)
				}
				s.Heal()
			}
			awaitPhase(s, "done", 30*time.Second)
			l.stop()
			if l.failed.Load() > 0 || s.Route().TrafficSplit != 100 {
				t.Errorf("%d of %d requests failed, and the share is %v %%", l.failed.Load(), l.sent.Load(), s.Route().TrafficSplit)
			}
		})
	}
}

// Three instances on one storage, to which one has a slow way, and of which one is killed: one
// decision each, the same everywhere, about upstreams that speak TLS. What each has counted adds up.
func TestInstancesReleaseTogether(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		every int64 // how many requests of staging there are for one that fails
		phase string
		share float64
	}{"a good version": {1 << 60, "done", 100}, "a bad version": {5, "rolled_back", 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prod, stag := proxytest.Untrusted(t, "production", ""), proxytest.Untrusted(t, "staging", "")
			sick(stag, test.every, 500)
			config := func(s *server) string {
				return lab.Quiet + s.Site(lab.BlueGreenDirective("https://"+prod.Addr, "https://"+stag.Addr, steady, "skip_tls_verify"))
			}
			slow := lab.NewApart(t)
			slow.Spoil(lab.Slow("load", 700*time.Millisecond))
			slow.MustLoad(slow.OnFickle(config(slow)))
			all := []*server{slow}
			var others []*lab.Child
			for range 2 {
				c := lab.NewChild(t)
				c.Store = slow.Store
				c.Write(lab.Adapt(t, config(c.Server)))
				c.Start()
				others = append(others, c)
				all = append(all, c.Server)
			}
			act(others[0].Server, `{"action": "start"}`)
			var loads []*load
			for _, s := range all {
				loads = append(loads, drive(t, s, 4, 5*time.Millisecond))
			}
			seen := watchStored(t, slow.Store)
			time.Sleep(500 * time.Millisecond)
			loads[2].stop()
			others[1].Kill()
			for _, s := range all[:2] {
				awaitPhase(s, test.phase, time.Minute)
			}
			others[1].Start()
			for i, s := range all {
				awaitPhase(s, test.phase, 10*time.Second)
				if got := s.Route().TrafficSplit; got != test.share {
					t.Errorf("instance %d has %v %%, want %v", i, got, test.share)
				}
			}
			for _, wrong := range seen() {
				t.Error(wrong)
			}
		})
	}
}
