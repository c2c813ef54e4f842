package proxyos

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// warningsOf returns what explain warns of in a directive.
func warningsOf(t *testing.T, directive string) []string {
	t.Helper()
	config, err := proxytest.AdaptCaddyfile("http://localhost:1 {\n" + directive + "\n}")
	if err != nil {
		t.Fatalf("%s: %v", directive, err)
	}
	routes, err := explainRoutes(config)
	if err != nil || len(routes) != 1 || routes[0].Error != "" {
		t.Fatalf("%s: %+v, %v", directive, routes, err)
	}
	return routes[0].Warnings
}

// Each warning says what to write, and whoever has written that is not warned again.
func TestWarningsCanBeSatisfied(t *testing.T) {
	for name, test := range map[string]struct {
		suspicious string
		warning    string
		satisfied  []string
	}{
		"an unchecked certificate": {"proxyos h:8006", "h:8006: the certificate is not checked, only because of the port",
			[]string{"proxyos h:8006 {\nskip_tls_verify\n}", "proxyos h:8006 {\nskip_tls_verify off\n}", "proxyos {\nupstream h:8006 {\ntls_pin " + somePin + "\n}\n}", "proxyos http://h:8006"}},
		"plain HTTP on 443": {"proxyos http://h:443", "a written http:// wins over the HTTPS port 443", []string{"proxyos h:443 {\nskip_tls_verify off\n}"}},
		"HTTPS because of the transport": {"proxyos h:3000 {\ntransport http {\ntls\n}\n}", "HTTPS on port 3000, only because of the route's transport",
			[]string{"proxyos https://h:3000 {\ntransport http {\ntls\n}\n}", "proxyos http://h:3000 {\ntransport http {\ntls\n}\n}"}},
		"skip_tls_verify of a route without HTTPS": {"proxyos h:3000 {\nskip_tls_verify\n}", "skip_tls_verify has no effect, since every upstream speaks HTTP",
			[]string{"proxyos https://h:3000 {\nskip_tls_verify\n}", "proxyos h:3000", "proxyos h:3000 https://h:3001 {\nskip_tls_verify\n}"}},
		"skip_tls_verify of staging without HTTPS": {"proxyos https://h:3000 {\nname a\nstaging h:3001 {\nskip_tls_verify\n}\n}", "staging: skip_tls_verify has no effect",
			[]string{"proxyos https://h:3000 {\nname a\nstaging https://h:3001 {\nskip_tls_verify\n}\n}"}},
		"skip_tls_verify of an upstream without HTTPS": {"proxyos {\nupstream h:3000 {\nskip_tls_verify\n}\n}", "h:3000: skip_tls_verify has no effect, since it speaks HTTP; write https://h:3000",
			[]string{"proxyos {\nupstream https://h:3000 {\nskip_tls_verify\n}\n}"}},
		"an address twice": {"proxyos h:3000 h:3001 h:3000", "h:3000: it is in production twice", []string{"proxyos h:3001 {\nupstream h:3000 {\nweight 2\n}\n}"}},
		"an address in both groups": {"proxyos h:3000 {\nname a\nstaging h:3000\n}", "h:3000: it is in production and in staging",
			[]string{"proxyos h:3000 {\nname a\nstaging h:3001\n}"}},
		"a staging that nothing reaches": {"proxyos h:3000 {\nstaging h:3001\ntraffic_split 0\n}", "traffic_split 0: nothing ever goes to staging", []string{
			"proxyos h:3000 {\nname a\nstaging h:3001\ntraffic_split 0\n}", "proxyos h:3000 {\nstaging h:3001\ntraffic_split 0.1\n}",
			"proxyos h:3000 {\nstaging h:3001\ntraffic_split 0\nstaging_when /beta/*\n}"}},
		"a share above a release's first step": {"proxyos h:3000 {\nname a\nstaging h:3001\ntraffic_split 100\nrelease\n}", "traffic_split 100: a release begins at its first step, so starting it lowers staging's share to 1 %", []string{
			"proxyos h:3000 {\nname a\nstaging h:3001\ntraffic_split 1\nrelease\n}", "proxyos h:3000 {\nname a\nstaging h:3001\nrelease\n}",
			"proxyos h:3000 {\nname a\nstaging h:3001\ntraffic_split 100\nrelease {\nsteps 100\n}\n}", "proxyos h:3000 {\nname a\nstaging h:3001\ntraffic_split 100\nrelease {\ndry_run\n}\n}"}},
		"a long range":                {"proxyos h:3000-3100", "h:3000-3100: this range stands for 101 upstreams", []string{"proxyos h:3000-3099"}},
		"retries with nowhere else":   {"proxyos h:3000 {\nlb_retries 2\n}", "lb_retries 2 with a single upstream", []string{"proxyos h:3000", "proxyos h:3000 h:3001 {\nlb_retries 2\n}"}},
		"checks of dynamic upstreams": {"proxyos {\ndynamic a h 80\nhealth_uri /up\n}", idleChecksWarning, []string{"proxyos h:80 {\nhealth_uri /up\n}"}},
	} {
		if got := warningsOf(t, test.suspicious); len(got) != 1 || !strings.Contains(got[0], test.warning) {
			t.Errorf("%s: warned is %q, want %q", name, got, test.warning)
		}
		for _, directive := range test.satisfied {
			if got := warningsOf(t, directive); len(got) != 0 {
				t.Errorf("%s: the way out, %q, is warned of: %q", name, directive, got)
			}
		}
	}
	for _, directive := range []string{"proxyos http://h:9090", "proxyos h:9090 {\nskip_tls_verify\n}", "proxyos {\nupstream h:3000\nupstream h:3001 {\nweight 0\n}\n}", "proxyos {\ndynamic a h 80\n}", "proxyos h:9000 {\ntransport fastcgi\n}"} {
		if got := warningsOf(t, directive); len(got) != 0 {
			t.Errorf("%q is warned of: %q", directive, got)
		}
	}
}

func TestAnAddressIsWarnedOfByItself(t *testing.T) {
	for text, want := range map[string]string{
		"h:9090": "9090 is HTTPS for Cockpit", "h:8006": "only because of the port",
		"h:3000-3200": "this range stands for 201 upstreams", "http://h:9090": "", "h:3000": "",
	} {
		output, err := runCommand(explainCommand(), text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		flat := strings.Join(strings.Fields(output), " ")
		if strings.Contains(flat, "warning: ") != (want != "") || !strings.Contains(flat, want) {
			t.Errorf("%s is explained as\n%s\nwant the warning %q", text, output, want)
		}
		checkWidth(t, output)
	}
}

func TestTheExamplesAreNotWarnedOf(t *testing.T) {
	files, err := filepath.Glob("examples/*.Caddyfile")
	if err != nil || len(files) < 3 {
		t.Fatalf("found are %v, %v", files, err)
	}
	for _, file := range files {
		config, _, _, err := caddycmd.LoadConfig(file, "caddyfile")
		if err != nil {
			t.Fatal(err)
		}
		routes, err := explainRoutes(config)
		if err != nil || len(routes) == 0 {
			t.Errorf("%s: %v, %v", file, routes, err)
		}
		if all := slices.Concat(warningsIn(routes)...); len(all) > 0 {
			t.Errorf("%s: %s", file, strings.Join(all, "\n"))
		}
	}
}

func warningsIn(routes []routeExplanation) (all [][]string) {
	for _, route := range routes {
		var of []string
		for _, warning := range route.Warnings {
			of = append(of, fmt.Sprintf("%s: %s", route.Label, warning))
		}
		all = append(all, of)
	}
	return all
}
