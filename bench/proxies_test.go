package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

func TestEveryCaddyUnderstandsEveryPayload(t *testing.T) {
	for _, c := range contenders() {
		if !c.isCaddy() {
			continue
		}
		for _, p := range payloads {
			s := site{
				Listen: "127.0.0.1:20000", Admin: "127.0.0.1:20001", Production: "127.0.0.1:20002", Staging: "127.0.0.1:20003",
				TLS: p.tls, Weights: [2]int{9, 1}, Options: p.duty.options(),
			}
			var text strings.Builder
			if err := template.Must(template.New("").Parse(c.config)).Execute(&text, s); err != nil {
				t.Fatal(err)
			}
			config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text.String()), nil)
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, p.name, err)
			}
			for _, option := range s.Options {
				name := strings.ToLower(strings.Trim(strings.Fields(option)[1], "-"))
				if p.duty == onlyStock {
					name = "unhealthy_latency"
				}
				if !strings.Contains(strings.ToLower(string(config)), name) {
					t.Errorf("%s, %s: `%s` is not in the configuration:\n%s", c.name, p.name, option, config)
				}
			}
		}
	}
}

func TestARouteOffTheShortWayIsNothingForOtherProxies(t *testing.T) {
	for _, p := range payloads {
		has := slices.ContainsFunc(able(contenders(), p), func(c contender) bool { return c.name == nginxName })
		if want := p.duty != onlyStock; has != want {
			t.Errorf("%s: nginx takes part: %t, want %t", p.name, has, want)
		}
	}
}

func TestTheOrdinaryContendersNeedNoLongBuild(t *testing.T) {
	chosen, err := chosenContenders(nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range chosen {
		names = append(names, c.flag)
	}
	if got := strings.Join(names, " "); got != "proxyos stock stock-idle nginx haproxy" {
		t.Errorf("got %s", got)
	}
}

func TestTheVersionOfTraefikIsOfItsModule(t *testing.T) {
	t.Chdir("..")
	if _, err := os.Stat(filepath.Join("bench", "peers", "go.mod")); err != nil {
		t.Fatal(err)
	}
	if got := traefikVersion(); !strings.HasPrefix(got, "v3.") {
		t.Errorf("got %q", got)
	}
}
