package steering

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A named route is moved to another server, with other upstreams.
func TestANamedRouteKeepsItsStateWhereverItGoes(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 40")
	other := plain(t, "other", "")
	s.Split(25)
	s.Tally(10) // 2.5 turns of staging: half a turn is left over
	hold := make(chan struct{})
	prod.Answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
		io.WriteString(w, "production")
	})
	held := make(chan string, 1)
	go func() {
		body := "failed"
		if res, err := s.Client.Get(s.URL + "/hold"); err == nil {
			content, _ := io.ReadAll(res.Body)
			res.Body.Close()
			body = string(content)
		}
		held <- body
	}()
	eventually(t, "the request is in flight", func() bool { return s.Route().Groups[production].Upstreams[0].InFlight == 1 })
	before := s.Route()

	addr := freeAddr(t)
	s.MustLoad(quiet + "http://" + addr + " {\n" + blueGreenDirective(prod.Addr+" "+other.Addr, stag.Addr, "traffic_split 40") + "\n}\n")
	after := s.Route()
	if after.TrafficSplit != 25 || after.Override == nil || !after.Override.SetAt.Equal(before.Override.SetAt) || after.Override.SetBy != before.Override.SetBy {
		t.Errorf("after the reload the split is %v %%, override %+v", after.TrafficSplit, after.Override)
	}
	for group := range after.Groups {
		if a, b := after.Groups[group], before.Groups[group]; a.Requests != b.Requests || a.InFlight != b.InFlight || a.Upstreams[0].Requests != b.Upstreams[0].Requests {
			t.Errorf("after the reload the group is %+v, before it was %+v", a, b)
		}
	}
	if n := len(after.Groups[production].Upstreams); n != 2 {
		t.Errorf("production has %d upstreams, want 2", n)
	}
	s.URL = "http://" + addr
	turns := 11 // taken so far, of which the next is staging's twelfth quarter
	staged := uint64(after.Groups[staging].Requests)
	for range 20 {
		_, body := s.Get("/")
		turns++
		if body == "staging" {
			staged++
		}
		if off := float64(staged) - float64(turns)/4; off > 0.5 || off < -0.5 {
			t.Fatalf("after %d turns staging had %d: the reload made it lose its place", turns, staged)
		}
	}
	close(hold)
	if body := <-held; body != "production" {
		t.Errorf("the request that was in flight during the reload is answered with %q", body)
	}
	eventually(t, "it is in flight no more", func() bool { return s.Route().Groups[production].InFlight == 0 })
	if got := s.Route().Groups[production].Requests + s.Route().Groups[staging].Requests; got != 31 {
		t.Errorf("%d requests are counted, want 31", got)
	}
}

func TestEditingTheConfiguredSplitRetiresTheOverride(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 10")
	s.Split(80)
	s.MustLoad(s.BlueGreen(prod, stag, "traffic_split 10", "header_down X-Edited else"))
	if got := s.Route().TrafficSplit; got != 80 {
		t.Errorf("another edit makes the split %v %%, want 80", got)
	}
	s.MustLoad(s.BlueGreen(prod, stag, "traffic_split 15"))
	if r := s.Route(); r.TrafficSplit != 15 || r.Override != nil {
		t.Errorf("the split is %v %%, override %+v; want the edited 15 %% and none", r.TrafficSplit, r.Override)
	}
	retired := func() []logEntry { return s.Logs.Entries("no longer applies") }
	eventually(t, "it is logged", func() bool { return len(retired()) == 1 })
	if entry := retired()[0]; entry["level"] != "info" || entry["retired"] != 80.0 || entry["configured"] != 15.0 || entry["set_against"] != 10.0 {
		t.Errorf("logged is %v", entry)
	}
	eventually(t, "the storage has it", func() bool { return strings.Contains(stored(s), `"rolled"`) })
	if !strings.Contains(stored(s), `"traffic_split": 80`) {
		t.Errorf("other instances have lost it: %s", stored(s))
	}
	s.MustLoad(s.BlueGreen(prod, stag, "traffic_split 10"))
	if got := s.Route().TrafficSplit; got != 10 {
		t.Errorf("a retired override is back: %v %%", got)
	}
}

// stored returns the document of overrides in the server's storage.
func stored(s *server) string {
	s.T.Helper()
	content, err := os.ReadFile(filepath.Join(s.Store, "proxyos", "overrides.json"))
	if err != nil && !os.IsNotExist(err) {
		s.T.Fatal(err)
	}
	return string(content)
}

func TestUpstreamsThatWereDownAreNotTriedAfterAReload(t *testing.T) {
	for name, checks := range map[string][]string{
		"passive": {"fail_duration 30s"},
		"active":  {"fail_duration 0", "health_uri /up", "health_interval 20ms", "health_timeout 10s", "health_fails 2"},
	} {
		t.Run(name, func(t *testing.T) {
			prod, stag, lost := plain(t, "production", ""), plain(t, "staging", ""), plain(t, "lost", "")
			s := newServer(t)
			config := func(version int) string {
				directive := blueGreenDirective(prod.Addr+" "+lost.Addr, stag.Addr, append(checks, fmt.Sprint("header_down X-Version ", version))...)
				return quiet + s.Site(directive)
			}
			s.MustLoad(config(0))
			s.Tally(4)
			lost.Stop()
			down := func() bool {
				s.Tally(2)
				return s.Route().Groups[production].Upstreams[1].Health == "down"
			}
			eventually(t, "the upstream is down", down)
			for version := 1; version <= 3; version++ {
				before := s.Route().Groups[production].Upstreams[1]
				s.Reload(config(version))
				if u := s.Route().Groups[production].Upstreams[1]; u.Health != "down" {
					t.Errorf("after reload %d the upstream is %s", version, u.Health)
				}
				s.Tally(20)
				if u := s.Route().Groups[production].Upstreams[1]; u.Requests != before.Requests {
					t.Errorf("after reload %d the upstream that was down is tried %d times", version, u.Requests-before.Requests)
				}
			}
			if name == "active" {
				lost.Start()
				eventually(t, "a check finds it well", func() bool { return s.Route().Groups[production].Upstreams[1].Health == "up" })
				if counts := s.Tally(20); counts["lost"] != 10 {
					t.Errorf("once it is well, 20 requests go to %v", counts)
				}
			}
		})
	}
}

func TestAConfigThatFailsToLoadChangesNothing(t *testing.T) {
	prod, stag, lost := plain(t, "production", ""), plain(t, "staging", ""), plain(t, "lost", "")
	s := newServer(t)
	config := quiet + s.Site(blueGreenDirective(prod.Addr+" "+lost.Addr, stag.Addr, "traffic_split 10", "fail_duration 300ms"))
	s.MustLoad(config)
	s.Split(20)
	lost.Stop()
	sent := uint64(0)
	eventually(t, "an upstream is down", func() bool {
		s.Tally(2)
		sent += 2
		return s.Route().Groups[production].Upstreams[1].Health == "down"
	})
	eventually(t, "the requests are counted", func() bool {
		r := s.Route()
		return r.Groups[production].Requests+r.Groups[staging].Requests == sent
	})
	before := s.Route()
	for name, bad := range map[string]string{
		"two routes with one name":   config + "http://" + freeAddr(t) + " {\n" + blueGreenDirective(prod.Addr, stag.Addr) + "\n}\n",
		"another handler that fails": config + "http://" + freeAddr(t) + " {\nproxyos " + prod.Addr + " {\nname other\ntransport http {\ntls_trust_pool file /nowhere\n}\n}\n}\n",
		"a server that cannot start": strings.Replace(config, "traffic_split 10", "traffic_split 50", 1) + "http://192.0.2.1 {\nbind 192.0.2.1\nrespond ok\n}\n",
		"a sync_interval too short":  strings.Replace(config, "500ms", "5ms", 1),
	} {
		for range 3 {
			if err := s.Load(bad); err == nil {
				t.Fatalf("%s: the config loads", name)
			}
		}
		after := s.Route()
		after.Groups[production].Upstreams[1].Health = before.Groups[production].Upstreams[1].Health // it may be over
		if got, want := encoded(t, after), encoded(t, before); got != want {
			t.Errorf("%s: the route was\n%s\nand is\n%s", name, want, got)
		}
	}
	lost.Start()
	began := time.Now()
	eventually(t, "the upstream is up, once a request has shown it", func() bool {
		s.Tally(2)
		sent += 2
		return s.Route().Groups[production].Upstreams[1].Health == "up"
	})
	if waited := time.Since(began); waited > 2*time.Second {
		t.Errorf("that took %s: the failed config has left its mark", waited)
	}
	s.Tally(100)
	sent += 100
	eventually(t, "the requests are counted", func() bool {
		r := s.Route()
		return r.Groups[production].Requests+r.Groups[staging].Requests == sent
	})

	// nothing is left of the route once a config is without it: its references are balanced
	s.Reload(quiet + s.Site("proxyos "+prod.Addr))
	s.Reload(config)
	if r := s.Route(); r.Groups[production].Requests != 0 || r.Groups[production].Upstreams[0].Requests != 0 || r.TrafficSplit != 20 {
		t.Errorf("a route that was gone begins with %d requests and a split of %v %%; want 0 and the stored 20 %%", r.Groups[production].Requests, r.TrafficSplit)
	}
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	text, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
