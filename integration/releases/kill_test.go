package releases

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// kill -9 at random moments: the release goes on, no step twice, and none skipped.
func TestAReleaseSurvivesKills(t *testing.T) {
	t.Parallel()
	kills := lab.Sized(2, 100, 4)
	random := rand.New(rand.NewPCG(1, 2))
	prod, stag := backends(t)
	c := lab.NewChild(t)
	c.Write(lab.Adapt(t, c.BlueGreen(prod, stag, `release {
		steps 5 10 20 30 40 50 60 70 80 90 100
		hold 300ms
		min_requests 5
		slower off
		max_errors off
	}`)))
	c.Start()
	act(c.Server, `{"action": "start"}`)
	last := stored(t, c.Store)
	for kill := range kills {
		l := drive(t, c.Server, 4, time.Millisecond)
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
		c.Kill()
		l.stop()
		now := stored(t, c.Store)
		if now.Version < last.Version || now.Step < last.Step || now.Step-last.Step > int(now.Version-last.Version) {
			t.Fatalf("kill %d: after %+v comes %+v", kill, last, now)
		}
		last = now
		c.Start()
		want := float64(0)
		switch now.Phase {
		case "running", "done":
			want = now.Plan.Steps[now.Step]
		default:
			t.Fatalf("kill %d: it is %+v", kill, now)
		}
		if got := c.Route().TrafficSplit; got < want { // it may have gone on at once
			t.Fatalf("kill %d: %v %% was stored, and the share is %v %%", kill, want, got)
		}
		if now.Phase == "done" {
			startAgain(c.Server)
			last = stored(t, c.Store)
		}
	}
}

// startAgain starts another release. A lock that a kill has left behind lasts ten seconds, as long as a change waits
// for it at most.
func startAgain(s *server) {
	s.T.Helper()
	eventually(s.T, "the storage takes a start", func() bool {
		code, answer := s.Ask(http.MethodPost, releasePath, `{"action": "start", "force": true}`)
		if code != http.StatusOK && code != http.StatusServiceUnavailable {
			s.T.Fatalf("a start is answered with %d %s", code, answer)
		}
		return code == http.StatusOK
	})
}

// storedRelease is a release as it is stored.
type storedRelease struct {
	Plan struct {
		Steps []float64 `json:"steps"`
	} `json:"plan"`
	Phase   string `json:"phase"`
	Version uint64 `json:"version"`
	Step    int    `json:"step"`
}

// stored reads the release from the storage of an instance.
func stored(t *testing.T, store string) storedRelease {
	t.Helper()
	found, err := readStored(store)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func readStored(store string) (storedRelease, error) {
	raw, err := os.ReadFile(filepath.Join(store, "proxyos", "overrides.json"))
	if err != nil {
		return storedRelease{}, err
	}
	var doc struct {
		Releases map[string]storedRelease `json:"releases"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return storedRelease{}, fmt.Errorf("%s: %w", raw, err)
	}
	return doc.Releases["app"], nil
}

// watchStored looks at what is stored again and again. What it returns ends that, and tells what must
// not have been: a version that says two things, or a step that does not follow the one before.
func watchStored(t *testing.T, store string) (end func() []string) {
	t.Helper()
	var wrong []string
	stop, done := make(chan struct{}), make(chan struct{})
	last := stored(t, store)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			now, err := readStored(store)
			if err != nil {
				wrong = append(wrong, err.Error())
				continue
			}
			isSame := now.Version == last.Version
			if isSame && (now.Phase != last.Phase || now.Step != last.Step) || now.Version < last.Version || now.Step < last.Step || now.Step-last.Step > int(now.Version-last.Version) {
				wrong = append(wrong, fmt.Sprintf("after %+v comes %+v", last, now))
			}
			last = now
		}
	}()
	return func() []string {
		close(stop)
		<-done
		return wrong
	}
}

// Whoever is to be told is, at each change, and an address that does not answer holds nobody up.
func TestChangesOfAReleaseAreTold(t *testing.T) {
	t.Parallel()
	prod, stag := backends(t)
	told := make(chan map[string]any, 100)
	hook := proxytest.Plain(t, "hook", "")
	hook.Answer(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		told <- body
	})
	s := lab.NewApart(t)
	s.MustLoad(s.BlueGreen(prod, stag, fmt.Sprintf("release {\nsteps 10 50\nhold 1s\nmin_requests 20\nslower off\nmax_errors off\nnotify http://%s/hook\n}", hook.Addr)))
	drive(t, s, 8, time.Millisecond)
	act(s, `{"action": "start", "by": "ops"}`)
	awaitPhase(s, "done", 30*time.Second)
	for _, want := range []string{"running 10 started by ops", "running 50 staging does no worse at 10 %: on to 50 %", "done 50 staging does no worse, and the last step is over"} {
		select {
		case body := <-told:
			if got := fmt.Sprint(body["phase"], " ", body["percent"], " ", body["reason"]); got != want || body["route"] != "app" {
				t.Errorf("told is %v, want %s", body, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%q is not told", want)
		}
	}
	hook.Stop()
	began := time.Now()
	act(s, `{"action": "start", "force": true}`)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("with nobody to tell, a start takes %s", took)
	}
}
