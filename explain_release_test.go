package proxyos

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestExplainSaysHowAReleaseGoesOn(t *testing.T) {
	hold, deadline := caddy.Duration(90*time.Minute), caddy.Duration(24*time.Hour+30*time.Second)
	for name, test := range map[string]struct {
		config Release
		want   string
	}{
		"the defaults": {
			Release{},
			"  release: 1, 5, 25, 50 and 100 %, each for 10m and 300 requests or more\n" +
				"  rolls back: above 1.5x production's errors, 1.5x production's slow answers or\n" +
				"              5 % errors, each with 99 % confidence; or after 24h\n",
		},
		"everything": {
			Release{Steps: []float64{0.5, 50}, Hold: &hold, MinRequests: new(1), Errors: new(0.0), Confidence: new(99.9), Approve: []float64{50}, Deadline: &deadline, OnFail: "pause", DryRun: true},
			"  release (dry run): 0.5 and 50 %, each for 1h30m and 1 request or more; 50 %\n" +
				"                     once approved\n" +
				"  would pause: above 1.5x production's slow answers or 5 % errors, each with\n" +
				"               99.9 % confidence; or after 24h0m30s\n",
		},
		"one step without a time": {
			Release{Steps: []float64{100}, Hold: new(caddy.Duration(0)), Slower: new(0.0), MaxErrors: new(0.0), OnFail: "pause"},
			"  release: 100 %, for 300 requests or more\n" +
				"  pauses: above 1.5x production's errors, with 99 % confidence; or after 24h\n",
		},
		"a dry run": {
			Release{Steps: []float64{1, 2, 3}, Slower: new(0.0), MaxErrors: new(0.0), DryRun: true},
			"  release (dry run): 1, 2 and 3 %, each for 10m and 300 requests or more\n" +
				"  would roll back: above 1.5x production's errors, with 99 % confidence; or\n" +
				"                   after 24h\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var output strings.Builder
			explainRelease(test.config.plan()).print(&output)
			checkWidth(t, output.String())
			if output.String() != test.want {
				t.Errorf("\ngot\n%swant\n%s", output.String(), test.want)
			}
		})
	}
}

func TestExplainHasTheReleaseOfARoute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(site("proxyos a:1 {\nname x\nstaging b:1\nrelease {\nsteps 5 50\napprove 50\n}\n}")), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := runCommand(explainCommand(), "--config", file)
	if err != nil || !strings.Contains(output, "  release: 5 and 50 %, each for 10m and 300 requests or more; 50 % once approved\n") {
		t.Errorf("%v\n%s", err, output)
	}
	output, err = runCommand(explainCommand(), "--config", file, "--json")
	var routes []struct{ Release json.RawMessage }
	if err != nil || json.Unmarshal([]byte(output), &routes) != nil || len(routes) != 1 || !strings.Contains(string(routes[0].Release), `"on_fail": "rollback"`) {
		t.Errorf("%v\n%s", err, output)
	}
}
