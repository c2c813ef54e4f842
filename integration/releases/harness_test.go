// Package releases tests releases that move by themselves, through a whole Caddy.
package releases

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// What nearly every test needs, by short names.
type (
	backend = proxytest.Backend
	server  = lab.Server
)

var eventually = proxytest.Eventually

// status is what the admin API tells of a release.
type status struct {
	Phase      string    `json:"phase"`
	Steps      []float64 `json:"steps"`
	Step       int       `json:"step"`
	Percent    float64   `json:"percent"`
	Reason     string    `json:"reason"`
	Change     string    `json:"change"`
	Requests   int64     `json:"requests"`
	Production int64     `json:"production"`
	Edited     string    `json:"edited"`
	Tests      []finding `json:"tests"`
	Waits      []struct {
		For string `json:"for"`
	} `json:"waits"`
}

// finding is what a test of a release has found.
type finding struct {
	Test string `json:"test"`
	Text string `json:"text"`
}

const releasePath = "/proxyos/routes/app/release"

// statusOf asks for the release of a server's route.
func statusOf(s *server) status {
	s.T.Helper()
	code, answer := s.Ask(http.MethodGet, releasePath, "")
	if code != http.StatusOK {
		s.T.Fatalf("GET %s: HTTP %d: %s", releasePath, code, answer)
	}
	return lab.Decode[status](s.T, answer)
}

// act does something to the release, and wants it to be done.
func act(s *server, body string) status {
	s.T.Helper()
	code, answer := s.Ask(http.MethodPost, releasePath, body)
	if code != http.StatusOK {
		s.T.Fatalf("POST %s %s: HTTP %d: %s", releasePath, body, code, answer)
	}
	return lab.Decode[status](s.T, answer)
}

// refused wants the admin API to refuse something, and returns why.
func refused(s *server, code int, body string) string {
	s.T.Helper()
	got, answer := s.Ask(http.MethodPost, releasePath, body)
	if got != code {
		s.T.Errorf("POST %s %s: HTTP %d: %s, want %d", releasePath, body, got, answer, code)
	}
	var text struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal([]byte(answer), &text); err != nil {
		s.T.Errorf("%s: %v", answer, err)
	}
	return text.Error
}

// awaitPhase waits until the release is in a phase.
func awaitPhase(s *server, phase string, within time.Duration) status {
	s.T.Helper()
	var last status
	for began := time.Now(); time.Since(began) < within; time.Sleep(20 * time.Millisecond) {
		if last = statusOf(s); last.Phase == phase {
			return last
		}
	}
	s.T.Fatalf("after %s the release is %+v, want %s", within, last, phase)
	return last
}

// load is clients that send requests one after the other. They can be held, so that nothing is under
// way.
type load struct {
	hold    sync.RWMutex
	stopped atomic.Bool
	clients sync.WaitGroup
	client  *http.Client

	sent, failed atomic.Int64
	ofStaging    atomic.Int64
}

// drive has clients send requests to a server until the test ends, with a pause after each.
func drive(t *testing.T, s *server, clients int, pause time.Duration) *load {
	return driveWithin(t, s, clients, pause, 20*time.Second)
}

// driveWithin is drive for clients that leave after some time.
func driveWithin(t *testing.T, s *server, clients int, pause, patience time.Duration) *load {
	l := &load{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: patience}}
	for range clients {
		l.clients.Go(func() {
			for !l.stopped.Load() {
				l.one(s.URL)
				time.Sleep(pause)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) one(url string) {
	l.hold.RLock()
	defer l.hold.RUnlock()
	l.sent.Add(1)
	res, err := l.client.Get(url)
	if err != nil {
		l.failed.Add(1)
		return
	}
	defer res.Body.Close()
	if _, err = io.Copy(io.Discard, res.Body); err != nil || res.StatusCode >= http.StatusInternalServerError {
		l.failed.Add(1)
	}
	if res.Header.Get("X-Group") == "staging" {
		l.ofStaging.Add(1)
	}
}

func (l *load) stop() {
	l.stopped.Store(true)
	l.clients.Wait()
	l.client.CloseIdleConnections()
}

// sick has a backend answer every nth request with a status.
func sick(b *backend, every int64, code int) {
	var n atomic.Int64
	b.Answer(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%every == 0 {
			w.WriteHeader(code)
			return
		}
		fmt.Fprint(w, b.Name)
	})
}

// isLong tells whether the long tests are asked for. Others try fewer ways, and none is left out whole.
var isLong = lab.Sized(0, 1, 0) == 1

// eachForm runs a test with directives as a Caddyfile and, in the long tests, as JSON, and with the
// fast ways off.
func eachForm(t *testing.T, directives string, test func(*testing.T, *server)) {
	t.Helper()
	if isLong {
		lab.BothForms(t, directives, test)
		return
	}
	test(t, lab.RunApart(t, directives))
}

// backends starts one of each group.
func backends(t *testing.T) (prod, stag *backend) {
	t.Helper()
	return proxytest.Plain(t, "production", ""), proxytest.Plain(t, "staging", "")
}

// slowly is a release that stays at 25 % for a while.
const slowly = `header_down X-Group {http.proxyos.group}
	release {
		steps 10 25 100
		hold 1500ms
		min_requests 20
		slower off
	}`

// quick is a release that takes seconds.
const quick = `header_down X-Group {http.proxyos.group}
	release {
		steps 1 5 25 50 100
		hold 1s
		min_requests 20
		slower off
	}`
