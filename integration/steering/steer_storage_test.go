package steering

import (
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// onFickle runs a route on a storage that can fail.
func onFickle(t *testing.T, subdirectives ...string) (s *server, config string) {
	t.Helper()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s = lab.NewApart(t)
	config = s.OnFickle(s.BlueGreen(prod, stag, subdirectives...))
	s.MustLoad(config)
	return s, config
}

// refusedSplit asks for a change that the storage does not take.
func refusedSplit(s *server, percent string) {
	s.T.Helper()
	status, answer := s.Ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": `+percent+`}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(answer, "was not changed") {
		s.T.Errorf("the change is answered with %d %s, want 503", status, answer)
	}
}

func TestAStorageThatTakesNothingChangesNothing(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]lab.Faults{"read-only": lab.ReadOnly, "full": lab.Full} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, config := onFickle(t, "traffic_split 10")
			s.Split(20)
			before := stored(s)
			load := drive(t, s.URL, 4, math.MaxInt64)
			s.Spoil(faults)
			refusedSplit(s, "30")
			if status, answer := s.Ask(http.MethodDelete, "/proxyos/routes/app/override", ""); status != http.StatusServiceUnavailable {
				t.Errorf("the reset is answered with %d %s, want 503", status, answer)
			}
			if r := s.Route(); r.TrafficSplit != 20 {
				t.Errorf("the split is now %v %%", r.TrafficSplit)
			}
			if errs := s.Logs.Entries("the traffic split was not changed"); len(errs) != 2 || errs[0]["level"] != "error" {
				t.Errorf("logged is %v", errs)
			}
			if got := stored(s); got != before {
				t.Errorf("stored is now %s", got)
			}
			load.stop()
			load.wantsNoError(t)
			s.Reload(config) // which does not need to write
			if r := s.Route(); r.TrafficSplit != 20 {
				t.Errorf("after a reload the split is %v %%", r.TrafficSplit)
			}
			s.Heal()
			s.Split(30)
			if r := s.Route(); r.TrafficSplit != 30 {
				t.Errorf("once the storage works, the split is %v %%", r.TrafficSplit)
			}
		})
	}
}

func TestADamagedDocumentIsReportedAndSetAside(t *testing.T) {
	t.Parallel()
	const garbage = `{"version": 7, "routes": {"app": {"traffic_sp`
	damage := func(s *server) {
		lab.Replace(s.T, filepath.Join(s.Store, "proxyos", "overrides.json"), []byte(garbage))
	}
	check := func(t *testing.T, s *server) {
		t.Helper()
		var aside []string
		eventually(t, "the damaged document is set aside", func() bool {
			aside, _ = filepath.Glob(filepath.Join(s.Store, "proxyos", "overrides.damaged-*.json"))
			return len(aside) == 1 && !strings.Contains(stored(s), "traffic_sp\n") && stored(s) != garbage
		})
		if content, err := os.ReadFile(aside[0]); err != nil || string(content) != garbage {
			t.Errorf("set aside is %q, %v", content, err)
		}
		if logged := s.Logs.Entries("the stored splits are damaged; they are set aside"); len(logged) != 1 || logged[0]["level"] != "error" {
			t.Errorf("logged is %v", logged)
		}
		s.Split(33)
		if r := s.Route(); r.TrafficSplit != 33 {
			t.Errorf("then the split is set to %v %%, want 33", r.TrafficSplit)
		}
	}
	t.Run("while Caddy runs", func(t *testing.T) {
		t.Parallel()
		s, _ := onFickle(t, "traffic_split 10")
		s.Split(20)
		damage(s)
		check(t, s)
		s.Split(20)
		damage(s)
		s.Split(25) // finds the damage by itself
		if r := s.Route(); r.TrafficSplit != 25 {
			t.Errorf("the split is %v %%, want 25", r.TrafficSplit)
		}
	})
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		prod, stag := plain(t, "production", ""), plain(t, "staging", "")
		s := lab.NewApart(t)
		damage(s)
		s.MustLoad(s.BlueGreen(prod, stag, "traffic_split 10"))
		eventually(t, "it is logged", func() bool { return len(s.Logs.Entries("has not seen others")) == 1 })
		time.Sleep(time.Second) // two intervals
		if r := s.Route(); r.TrafficSplit != 10 || stored(s) != garbage {
			t.Errorf("the split is %v %%, want the configured 10; stored is %s", r.TrafficSplit, stored(s))
		}
		s.Split(20) // a person writes it again
		check(t, s)
	})
	t.Run("in a full storage", func(t *testing.T) {
		t.Parallel()
		s, _ := onFickle(t, "traffic_split 10")
		s.Split(20)
		s.Spoil(lab.Full)
		damage(s)
		eventually(t, "the damage is reported", func() bool { return len(s.Logs.Entries("does not take what this instance has to write")) == 1 })
		refusedSplit(s, "30")
		if r := s.Route(); r.TrafficSplit != 20 {
			t.Errorf("the split is now %v %%", r.TrafficSplit)
		}
		s.Heal()
		check(t, s)
	})
}

func TestASlowStorageKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Second
	s, config := onFickle(t, "traffic_split 0")
	s.Split(100)
	s.Wants(http.StatusOK, "staging")

	// a start: the config is in force at once, the stored split when the storage has answered
	s.MustLoad(strings.Replace(config, "name app", "name other", 1))
	s.Spoil(lab.Slow("load", delay))
	began := time.Now()
	s.Reload(config)
	s.Wants(http.StatusOK, "production")
	if took := time.Since(began); took > delay/2 {
		t.Errorf("with a slow storage Caddy takes %s to serve", took)
	}
	eventually(t, "the stored split is in force", func() bool { return s.Route().TrafficSplit == 100 })
	s.Heal()

	// a reload: the split stays in force
	s.Spoil(lab.Slow("load", delay))
	s.Reload(config)
	for began = time.Now(); time.Since(began) < time.Second; {
		s.Wants(http.StatusOK, "staging")
	}
	s.Heal()

	// a change: traffic does not notice, and the change is acknowledged once it is stored
	s.Spoil(lab.Slow("store", delay))
	load := drive(t, s.URL, 4, math.MaxInt64)
	began = time.Now()
	acknowledged := make(chan time.Duration)
	go func() {
		s.Split(40)
		acknowledged <- time.Since(began)
	}()
	for time.Since(began) < delay/2 {
		asked := time.Now()
		s.Wants(http.StatusOK, "staging")
		if took := time.Since(asked); took > delay/4 {
			t.Errorf("a request takes %s while the storage is slow", took)
		}
	}
	if took := <-acknowledged; took < delay {
		t.Errorf("the change is acknowledged after %s, before it is stored", took)
	}
	if r := s.Route(); r.TrafficSplit != 40 {
		t.Errorf("the split is %v %%", r.TrafficSplit)
	}
	load.stop()
	load.wantsNoError(t)
}

func TestADeletedDocumentIsWrittenAgain(t *testing.T) {
	t.Parallel()
	s, config := onFickle(t, "traffic_split 10")
	s.Split(20)
	was := stored(s)
	for range 2 {
		if err := os.Remove(filepath.Join(s.Store, "proxyos", "overrides.json")); err != nil {
			t.Fatal(err)
		}
		s.Reload(config)
		eventually(t, "it is written again", func() bool { return stored(s) == was })
		if got := s.Route().TrafficSplit; got != 20 {
			t.Errorf("the split is %v %%, want 20", got)
		}
	}
	if changed := s.Logs.Entries("to match the storage"); len(changed) > 0 {
		t.Errorf("logged is %v", changed)
	}
}

func TestAStorageThatOnlySaysNoSuchKeyChangesNothing(t *testing.T) {
	t.Parallel()
	s, _ := onFickle(t, "traffic_split 10")
	s.Split(100)
	s.Spoil(lab.Faults{Fails: map[string]syscall.Errno{"load": syscall.ENOENT, "lock": syscall.ECONNREFUSED}})
	for began := time.Now(); time.Since(began) < 2*time.Second; { // four intervals
		s.Wants(http.StatusOK, "staging")
	}
	refusedSplit(s, "30")
	for _, text := range []string{"are missing", "does not take what this instance has to write"} {
		if logged := s.Logs.Entries(text); len(logged) != 1 {
			t.Errorf("%q is logged %d times", text, len(logged))
		}
	}
	s.Heal()
	eventually(t, "its return is logged", func() bool { return len(s.Logs.Entries("can be read again")) == 1 })
	if got := s.Route().TrafficSplit; got != 100 {
		t.Errorf("the split is %v %%", got)
	}
}
