package steering

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A script goes by the exit code of a watch.
func TestTheExitCodeOfAReleaseWatchSaysHowItEnded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		phase string
		code  int
		want  string
	}{
		{"done", 0, "done, step 2 of 2 at 100 %"},
		{"rolled_back", 3, "is not done: it is rolled back"},
		{"stopped", 3, "is not done: it is stopped"},
		{"paused", 4, "`caddy proxyos release resume shop`"},
	} {
		t.Run(test.phase, func(t *testing.T) {
			t.Parallel()
			c := newChild(t)
			var asked atomic.Int32
			admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				phase := "running"
				if asked.Add(1) > 1 {
					phase = test.phase
				}
				fmt.Fprintf(w, `{"phase": %q, "steps": [1, 100], "step": 2, "percent": 100, "started_at": "2024-05-01T10:00:00Z", "hold": "10m0s"}`, phase)
			}))
			address := strings.TrimPrefix(admin.URL, "http://")
			for _, command := range []string{"start", "status"} {
				asked.Store(0)
				code, stdout, stderr := steerAt(c, address, "release", command, "shop", "--watch")
				flat := strings.Join(strings.Fields(stdout+stderr), " ")
				if code != test.code || !strings.Contains(flat, "running, step 2 of 2 at 100 %") || !strings.Contains(flat, test.want) {
					t.Errorf("%s --watch exits with %d if the release is %s, want %d:\n%s%s", command, code, test.phase, test.code, stdout, stderr)
				}
			}
			// without --watch, it is done once it is told
			if code, stdout, stderr := steerAt(c, address, "release", "status", "shop"); code != 0 || stderr != "" {
				t.Errorf("status exits with %d if the release is %s:\n%s%s", code, test.phase, stdout, stderr)
			}
			admin.Close()
		})
	}
}
