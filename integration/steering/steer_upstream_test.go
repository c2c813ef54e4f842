package steering

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// farm runs a route named app with two backends in each group, and returns them.
func farm(t testing.TB, subdirectives ...string) (s *server, all []*backend) {
	t.Helper()
	for _, name := range []string{"p1", "p2", "s1", "s2"} {
		all = append(all, plain(t, name, ""))
	}
	s = newServer(t)
	s.MustLoad(farmOf(s, all, subdirectives...))
	return s, all
}

// farm returns the Caddyfile of such a route.
func farmOf(s *server, all []*backend, subdirectives ...string) string {
	return quiet + s.Site(fmt.Sprintf("proxyos %s %s {\n\tname app\n\tstaging %s %s\n\t%s\n}",
		all[0].Addr, all[1].Addr, all[2].Addr, all[3].Addr, strings.Join(subdirectives, "\n\t")))
}

// drainedRequests watches that no request that began after a backend was drained reaches it.
type drainedRequests struct {
	epoch   atomic.Int64
	drained [4]atomic.Int64 // since which epoch each backend is; 0 if it is not
	late    atomic.Int64
}

func (d *drainedRequests) watch(t testing.TB, all []*backend) {
	for i, b := range all {
		echo := echo(t, b)
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			began, _ := strconv.ParseInt(r.Header.Get("X-Began"), 10, 64)
			if since := d.drained[i].Load(); since != 0 && began >= since {
				d.late.Add(1)
			}
			echo(w, r)
		})
	}
}

// Upstreams are drained and made ready again and again while clients are at full speed and
// WebSockets are open: nothing breaks, a drained upstream gets no request that begins after the
// command was acknowledged, and the share of the groups stays exact.
func TestDrainingUnderLoadBreaksNothing(t *testing.T) {
	const clients, open, percent = 64, 200, 30
	drains := lab.Sized(10, 250, 15) // of each upstream
	s, all := farm(t, fmt.Sprint("traffic_split ", percent))
	var watched drainedRequests
	watched.watch(t, all)
	webSockets := sockets(t, s, open)

	var pause sync.RWMutex // held to look while nothing is under way
	var sent, ofStaging, failed atomic.Int64
	var group sync.WaitGroup
	stop := make(chan struct{})
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	t.Cleanup(transport.CloseIdleConnections)
	one := func() {
		pause.RLock()
		defer pause.RUnlock()
		req, _ := http.NewRequest(http.MethodGet, s.URL, nil)
		req.Header.Set("X-Began", fmt.Sprint(watched.epoch.Load()))
		res, err := transport.RoundTrip(req)
		sent.Add(1)
		if err != nil {
			failed.Add(1)
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		switch {
		case err != nil || res.StatusCode != http.StatusOK:
			failed.Add(1)
		case body[0] == 's':
			ofStaging.Add(1)
		}
	}
	for range clients {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					one()
				}
			}
		})
	}
	for _, socket := range webSockets {
		if socket.group[0] == 's' {
			ofStaging.Add(1)
		}
	}
	sent.Add(open)

	for round := range drains {
		for i, b := range all {
			s.Steer(b, `{"state": "drain"}`)
			watched.drained[i].Store(watched.epoch.Add(1))
			if round%10 == 0 && i == 0 {
				wantsOpen(t, webSockets, fmt.Sprint("round ", round, " "))
				pause.Lock()
				if got, want := float64(ofStaging.Load()), float64(sent.Load())*percent/100; math.Abs(got-want) > 0.5 {
					t.Errorf("round %d: staging had %v of %d requests, want %v", round, got, sent.Load(), want)
				}
				pause.Unlock()
			}
			watched.drained[i].Store(0)
			s.Steer(b, `{"state": "ready"}`)
		}
	}
	close(stop)
	group.Wait()
	wantsOpen(t, webSockets, "in the end ")
	if failed.Load() > 0 || watched.late.Load() > 0 {
		t.Errorf("of %d requests %d failed, and %d reached a drained upstream", sent.Load(), failed.Load(), watched.late.Load())
	}
	r := s.Route()
	for _, g := range r.Groups {
		if g.Errors > 0 {
			t.Errorf("%d errors in %s", g.Errors, g.Name)
		}
		for _, u := range g.Upstreams {
			if u.Drained || u.Requests == 0 {
				t.Errorf("in the end %s is %+v", u.Dial, u)
			}
		}
	}
	t.Logf("%d requests while %d upstreams were drained", sent.Load(), 4*drains)
}

// What is set for an upstream is in force with the next request, in both groups, over every way
// of choosing, and until it is taken back.
func TestUpstreamsAreDrainedAndWeighed(t *testing.T) {
	for _, policy := range []string{"", "lb_policy round_robin", "lb_policy least_conn", "lb_policy random", "lb_policy ip_hash", "lb_policy first",
		"lb_policy weighted_round_robin 1 1"} {
		t.Run(policy, func(t *testing.T) {
			s, all := farm(t, policy, "traffic_split 50")
			s.Steer(all[0], `{"state": "drain"}`)
			s.Steer(all[3], `{"state": "drain"}`)
			if got := s.Tally(40); got["p2"] != 20 || got["s1"] != 20 {
				t.Errorf("with p1 and s2 drained, served have %v", got)
			}
			s.Steer(all[0], `{"state": "ready"}`)
			s.Steer(all[1], `{"state": "drain"}`)
			s.Steer(all[2], `{"state": "drain", "force": true}`) // which leaves staging nobody
			if got := s.Tally(40); got["p1"] != 40 {
				t.Errorf("with p1 alone left, served have %v", got)
			}
			if fallbacks := s.Route().Fallbacks; fallbacks != 20 {
				t.Errorf("%d requests fell back, want 20", fallbacks)
			}
			s.Steer(all[0], `{"state": "drain", "force": true}`)
			if got := s.Tally(10); got["503"] != 10 {
				t.Errorf("with all drained, served have %v", got)
			}
			for _, b := range all {
				if status, answer := s.Ask(http.MethodDelete, "/proxyos/routes/app/upstreams/"+b.Addr+"/override", ""); status != http.StatusOK {
					t.Fatalf("%d %s", status, answer)
				}
			}
			got := s.Tally(40)
			if got["p1"]+got["p2"] != 20 || got["s1"]+got["s2"] != 20 {
				t.Errorf("with none drained, served have %v", got)
			}
		})
	}
	t.Run("two listeners", func(t *testing.T) {
		s, all := farm(t)
		second := proxytest.FreeAddr(t)
		s.MustLoad(strings.Replace(farmOf(s, all), "http://"+s.Addr, "http://"+s.Addr+", http://"+second, 1))
		s.Steer(all[0], `{"state": "drain"}`)
		for range 10 {
			for _, addr := range []string{s.Addr, second} {
				res, err := s.Client.Get("http://" + addr)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if string(body) != "p2" {
					t.Errorf("%s is answered by %q", addr, body)
				}
			}
		}
	})
	t.Run("weights", func(t *testing.T) {
		s, all := farm(t, "traffic_split 50")
		s.Steer(all[0], `{"weight": 3}`)
		s.Steer(all[2], `{"weight": 0}`)
		if got := s.Tally(80); got["p1"] != 30 || got["p2"] != 10 || got["s2"] != 40 {
			t.Errorf("served have %v", got)
		}
		if u := s.Route().Groups[production].Upstreams[0]; u.Weight != 3 || u.Drained {
			t.Errorf("p1 is shown as %+v", u)
		}
		s.Steer(all[0], `{"weight": 1}`)
		s.Steer(all[2], `{"weight": 1}`)
		if status, answer := s.Ask(http.MethodGet, "/proxyos/routes/app", ""); status != http.StatusOK || strings.Contains(answer, "override") {
			t.Errorf("with the configured weights set, the route is %d %s", status, answer)
		}
		if got := s.Tally(80); got["p1"] != 20 || got["s1"] != 20 {
			t.Errorf("served have %v", got)
		}
	})
}

// What is set for an upstream stays while only other things are edited, and goes by the
// configuration for good once that is edited, or the upstream is in another group or gone.
func TestAReloadKeepsWhatIsSetForAnUpstream(t *testing.T) {
	s, all := farm(t, "traffic_split 50")
	isDrained := func() bool {
		for _, g := range s.Route().Groups {
			for _, u := range g.Upstreams {
				if u.Dial == all[0].Addr {
					return u.Drained
				}
			}
		}
		return false
	}
	s.Steer(all[0], `{"state": "drain"}`)
	s.Reload(farmOf(s, all, "traffic_split 50", "lb_retries 1"))
	if got := s.Tally(8); !isDrained() || got["p1"] != 0 {
		t.Errorf("after a reload, served have %v", got)
	}
	first := farmOf(s, all, "traffic_split 50")
	for name, edited := range map[string]string{
		"weight": quiet + s.Site(fmt.Sprintf("proxyos {\nname app\nupstream %s {\nweight 2\n}\nupstream %s\nstaging %s %s\ntraffic_split 50\n}",
			all[0].Addr, all[1].Addr, all[2].Addr, all[3].Addr)),
		"moved":  farmOf(s, []*backend{all[2], all[1], all[0], all[3]}, "traffic_split 50"),
		"gone":   farmOf(s, []*backend{all[3], all[1], all[2], plain(t, "other", "")}, "traffic_split 50"),
		"scheme": strings.Replace(first, "proxyos "+all[0].Addr, "proxyos h2c://"+all[0].Addr, 1),
	} {
		t.Run(name, func(t *testing.T) {
			s.Reload(first)
			s.Steer(all[0], `{"state": "ready"}`)
			s.Steer(all[0], `{"state": "drain"}`)
			s.Reload(edited)
			if isDrained() {
				t.Error("it is drained though its configuration was edited")
			}
			eventually(t, "the storage is told", func() bool { return strings.Contains(stored(s), "rolled") })
			if len(s.Logs.Entries("the configuration of the upstream was edited; what was set at run time no longer applies")) == 0 {
				t.Error("the log does not say so")
			}
			s.Reload(first)
			if isDrained() {
				t.Error("it is drained once more though its configuration was edited")
			}
		})
	}
}

// Changes that make no sense or leave nobody are refused, and change nothing.
func TestRefusedChangesOfUpstreams(t *testing.T) {
	s, all := farm(t, "traffic_split 10")
	path := "/proxyos/routes/app/upstreams/" + all[0].Addr
	s.Steer(all[1], `{"state": "drain"}`)
	for _, test := range []struct {
		method, path, body string
		want               int
		says               string
	}{
		{"PATCH", "/proxyos/routes/app/upstreams/", `{"weight": 2}`, 404, "has no upstream"},
		{"PATCH", "/proxyos/routes/app/upstreams/", `{"traffic_split": 50}`, 404, "has no upstream"},
		{"PATCH", path, `{"state": "drain"}`, 409, "the last upstream of production"},
		{"PATCH", path, `{"weight": 0}`, 409, "the last upstream of production"},
		{"PATCH", path, `{"state": "off"}`, 400, `write \"drain\" or \"ready\"`},
		{"PATCH", path, `{"weight": 1001}`, 400, "weight 1001 is outside 0 to 1000"},
		{"PATCH", path, `{"weight": -1}`, 400, "weight -1 is outside 0 to 1000"},
		{"PATCH", path, `{"weight": 1.5}`, 400, "decoding the body"},
		{"PATCH", path, `{}`, 400, "state and weight are missing"},
		{"PATCH", path, ``, 400, "decoding the body"},
		{"PATCH", path, `{"weight": 2} 3`, 400, "more than one value"},
		{"PATCH", path, `{"weight": 2, "by": "` + strings.Repeat("x", 201) + `"}`, 400, "write at most 200"},
		{"PATCH", path, `{"weight": 2}` + strings.Repeat(" ", 64<<10), 413, "larger than"},
		{"PATCH", "/proxyos/routes/app/upstreams/127.0.0.9:1", `{"weight": 2}`, 404, "has no upstream"},
		{"PATCH", "/proxyos/routes/nobody/upstreams/" + all[0].Addr, `{"weight": 2}`, 404, "no proxyos route named"},
		{"DELETE", path, "", 405, "use PATCH"},
		{"GET", path, "", 405, "use PATCH"},
		{"PATCH", path + "/override", `{"weight": 2}`, 405, "use DELETE"},
	} {
		status, answer := s.Ask(test.method, test.path, test.body)
		if status != test.want || !strings.Contains(answer, test.says) {
			t.Errorf("%s %s %.40s: %d %s, want %d and %q", test.method, test.path, test.body, status, answer, test.want, test.says)
		}
		if u := s.Route().Groups[production].Upstreams[0]; u.Drained || u.Weight != 1 {
			t.Fatalf("after %s %s %.40s it is %+v", test.method, test.path, test.body, u)
		}
	}
	if got := s.Route().TrafficSplit; got != 10 {
		t.Errorf("now the split is %v %%", got)
	}
	s.MustLoad(farmOf(s, all, "traffic_split 10", "lb_policy random"))
	if status, answer := s.Ask("PATCH", path, `{"weight": 2}`); status != http.StatusConflict || !strings.Contains(answer, "remove lb_policy") {
		t.Errorf("a weight beside a policy: %d %s", status, answer)
	}
}

// Of changes that leave nobody only together, one is refused, whoever comes first; and so is one that
// leaves only upstreams that are down, and one that takes back what the last one needs.
func TestWhoIsLeftIsAskedWhenAChangeIsMade(t *testing.T) {
	s, all := farm(t, "traffic_split 10", "staging_fallback off")
	patch := func(b *backend, body string) (status int, answer string) {
		return s.Ask(http.MethodPatch, "/proxyos/routes/app/upstreams/"+b.Addr, body)
	}
	for _, group := range [][]*backend{all[:2], all[2:]} {
		for range 20 {
			var refused atomic.Int64
			var both sync.WaitGroup
			for _, b := range group {
				both.Go(func() {
					if status, _ := patch(b, `{"state": "drain"}`); status == http.StatusConflict {
						refused.Add(1)
					}
				})
			}
			both.Wait()
			if refused.Load() != 1 {
				t.Fatalf("%d of two drains at once were refused, want 1", refused.Load())
			}
			for _, b := range group {
				s.Steer(b, `{"state": "ready"}`)
			}
		}
	}
	all[0].Stop()
	s.Tally(10)
	if status, answer := patch(all[1], `{"state": "drain"}`); status != http.StatusConflict || !strings.Contains(answer, "the others are down or on trial") {
		t.Errorf("draining the only one that is up: %d %s", status, answer)
	}
	s.Steer(all[0], `{"state": "drain"}`) // the one that is down
}

func TestAResetThatLeavesNobodyIsRefused(t *testing.T) {
	s, all := farm(t)
	s.MustLoad(quiet + s.Site(fmt.Sprintf("proxyos {\nname app\nupstream %s {\nweight 0\n}\nto %s\n}", all[0].Addr, all[1].Addr)))
	s.Steer(all[0], `{"weight": 1}`)
	s.Steer(all[1], `{"state": "drain"}`)
	path := "/proxyos/routes/app/upstreams/" + all[0].Addr + "/override"
	if status, answer := s.Ask(http.MethodDelete, path, ""); status != http.StatusConflict {
		t.Errorf("taking back the weight of the last one: %d %s", status, answer)
	}
	if status, answer := s.Ask(http.MethodDelete, path+"?force=true", ""); status != http.StatusOK {
		t.Errorf("the same with force: %d %s", status, answer)
	}
}

func TestAcknowledgedChangesOfUpstreamsSurviveAKill(t *testing.T) {
	s, all := farm(t) // only for the backends
	s.MustLoad("{\n}\n")
	c := newChild(t)
	c.Write(adapt(t, farmOf(c.Server, all, "traffic_split 50")))
	c.Start()
	for i := range lab.Sized(20, 50, 10) {
		b, change, want := all[i%4], `{"weight": 7}`, func(weight int, drained bool) bool { return weight == 7 }
		switch i % 3 {
		case 1:
			change, want = `{"state": "drain", "force": true}`, func(_ int, drained bool) bool { return drained }
		case 2:
			change, want = `{"state": "ready", "weight": 3}`, func(weight int, drained bool) bool { return weight == 3 && !drained }
		}
		c.Steer(b, change)
		c.Kill()
		c.Start()
		u := c.Route().Groups[i%4/2].Upstreams[i%2]
		if u.Dial != b.Addr || !want(u.Weight, u.Drained) {
			t.Fatalf("change %d: %s was acknowledged for %s; after the restart it is %+v", i, change, b.Name, u)
		}
	}
}

func TestInstancesFollowWhatIsSetForAnUpstream(t *testing.T) {
	t.Parallel()
	s, all := farm(t) // only for the backends
	s.MustLoad("{\n}\n")
	store := t.TempDir()
	var cluster []*child
	for range 3 {
		c := newChild(t)
		c.Store = store
		c.Write(adapt(t, farmOf(c.Server, all, "traffic_split 50")))
		c.Start()
		cluster = append(cluster, c)
	}
	for i, b := range all {
		cluster[i%3].Steer(b, `{"weight": 5}`)
		acknowledged := time.Now()
		eventually(t, "the weight is in force everywhere", func() bool {
			return !slices.ContainsFunc(cluster, func(c *child) bool { return c.Route().Groups[i/2].Upstreams[i%2].Weight != 5 })
		})
		if took := time.Since(acknowledged); took > time.Second { // two intervals, as quiet has them
			t.Errorf("the instances follow after %s", took)
		}
	}
}
