package proxyos

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// What could not be loaded is rejected where the Caddyfile is adapted, with the line.
func TestMistakesAreFoundWhereTheyAreWritten(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"no upstream", "a.example {\n\n\tproxyos\n}", "there is no upstream to send requests to; write one, such as app:3000, at Caddyfile:3"},
		{"an empty block", "a.example {\n\tproxyos {\n\t}\n}", "there is no upstream to send requests to; write one, such as app:3000, at Caddyfile:2"},
		{"an empty staging", "a.example {\n\tproxyos a:1 {\n\t\tstaging\n\t\ttraffic_split 5\n\t}\n}", "staging: there is no upstream to send requests to; write one, such as app:3000, at Caddyfile:2"},
		{"a split without staging", "a.example {\n\tproxyos a:1 {\n\t\ttraffic_split 5\n\t}\n}", "traffic_split: there is no staging group to send it to; add `staging <addresses...>`, or remove traffic_split, at Caddyfile:2"},
		{"staging that is never reached", "a.example {\n\tproxyos a:1 {\n\t\tstaging b:1\n\t}\n}", "staging: no request could ever reach it; add `traffic_split <percent>` or `staging_when <matcher>`, at Caddyfile:2"},
		{"sticky without staging", "a.example {\n\tproxyos a:1 {\n\t\tsticky cookie\n\t}\n}", "sticky: there is no staging group; add `staging <addresses...>`, or remove sticky, at Caddyfile:2"},
		{"weights beside a policy", "a.example {\n\tproxyos {\n\t\tupstream a:1 {\n\t\t\tweight 2\n\t\t}\n\t\tlb_policy first\n\t}\n}", "weights belong to the default policy; remove lb_policy, or the weights, at Caddyfile:2"},
		{"a pin on HTTP", "a.example {\n\tproxyos {\n\t\tupstream a:1 {\n\t\t\ttls_pin " + somePin + "\n\t\t}\n\t}\n}", `upstream "a:1": it has a tls_pin but speaks HTTP, since it has no scheme and no well-known HTTPS port; write https://a:1, at Caddyfile:2`},
		{"two meanings", "a.example {\n\tproxyos a:1 https://a:1\n}", `upstream "https://a:1": it dials a:1, like upstream "a:1" of production, but in a different way (HTTPS, certificate checked; HTTP); write both the same way, or change one of the addresses, at Caddyfile:2`},
		{"two meanings in a port that the global option has", "{\n\tproxyos {\n\t\thttps_ports 1\n\t}\n}\na.example {\n\tproxyos a:1 http://a:1\n}", `upstream "http://a:1": it dials a:1, like upstream "a:1" of production, but in a different way (HTTP; HTTPS, certificate not checked); write both the same way, or change one of the addresses, at Caddyfile:7`},
		{"HTTP/3 without TLS", "a.example {\n\tproxyos a:1 {\n\t\ttransport http {\n\t\t\tversions 3\n\t\t}\n\t}\n}", "upstream \"a:1\": the transport says `versions 3`, and HTTP/3 needs TLS; write https://a:1, at Caddyfile:2"},
		{"two routes of one name", "a.example {\n\tproxyos a:1 {\n\t\tname shop\n\t}\n}\nb.example {\n\tproxyos b:1 {\n\t\tname shop\n\t}\n}", `name "shop": another proxyos route already has it, the one at Caddyfile:2; give each route its own name, or both the same configuration, at Caddyfile:7`},
		{"two routes of one name in one site", "a.example {\n\thandle /a {\n\t\tproxyos a:1 {\n\t\t\tname shop\n\t\t}\n\t}\n\thandle {\n\t\tproxyos b:1 {\n\t\t\tname shop\n\t\t}\n\t}\n}", `name "shop": another proxyos route already has it, the one at Caddyfile:3; give each route its own name, or both the same configuration, at Caddyfile:8`},
		{"a mistake in a snippet", "(app) {\n\tproxyos {args[:]} {\n\t\ttraffic_split 5\n\t}\n}\na.example {\n\timport app a:1\n}", "traffic_split: there is no staging group to send it to; add `staging <addresses...>`, or remove traffic_split, at Caddyfile:2 import chain ['Caddyfile:7 (import app)']"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := adapt(c.config)
			if err == nil {
				t.Fatalf("accepted as %s", config)
			}
			if !strings.HasSuffix(firstPlace(err.Error()), c.want) {
				t.Errorf("\ngot  %s\nwant %s", err, c.want)
			}
		})
	}
}

// firstPlace cuts off the places of the blocks around, which Caddy adds.
func firstPlace(text string) string {
	before, after, isMore := strings.Cut(text, ", at Caddyfile:")
	if !isMore {
		return text
	}
	place, _, _ := strings.Cut(after, ", at Caddyfile:")
	return before + ", at Caddyfile:" + place
}

// What depends on where the config runs is not judged before.
func TestWhatIsKnownOnlyAtLoadIsAdapted(t *testing.T) {
	t.Setenv("ONE", "a")
	for _, config := range []string{
		"a.example {\n\tproxyos {env.ONE}:443 http://a:443\n}",
		"a.example {\n\tproxyos {env.ONE}:443 {env.OTHER}:80\n}",
		"a.example {\n\tproxyos https://a:1 {\n\t\ttransport http {\n\t\t\ttls_trust_pool file none.pem\n\t\t}\n\t}\n}",
		"http://a.example, https://a.example {\n\tproxyos a:1 {\n\t\tname shop\n\t}\n}",
		"http://a.example, https://a.example {\n\tproxyos a:1 {\n\t\tname shop\n\t\tstaging b:1\n\t\trelease {\n\t\t\tsteps 5 50\n\t\t}\n\t}\n}",
		"(shop) {\n\tproxyos a:1 {\n\t\tname shop\n\t}\n}\na.example {\n\timport shop\n}\nb.example {\n\timport shop\n}",
	} {
		if _, err := adapt(config); err != nil {
			t.Errorf("%s\n%v", config, err)
		}
	}
	if _, err := parseDirective(httpcaddyfile.Helper{Dispenser: caddyfile.NewTestDispenser("proxyos a:1 {\nname shop\n}")}); err != nil {
		t.Errorf("without a state: %v", err)
	}
}

func TestErrorsAtLoadNameTheSite(t *testing.T) {
	const wrong = `"upstreams": ["a:1"], "traffic_split": 5`
	for _, c := range []struct{ name, routes, want string }{
		{"a site", `{"match": [{"host": ["a.example"]}], "handle": [{"handler": "proxyos", ` + wrong + `}]}`, "site a.example: traffic_split: "},
		{"several", `{"match": [{"host": ["a.example", "b.example"]}], "handle": [{"handler": "proxyos", ` + wrong + `}]}`, "site a.example +1: traffic_split: "},
		{"a path", `{"match": [{"path": ["/x/*"]}], "handle": [{"handler": "proxyos", ` + wrong + `}]}`, "server test, path /x/*: traffic_split: "},
		{
			"a path in a site", `{"match": [{"host": ["a.example"]}], "handle": [{"handler": "subroute", "routes": [
				{"handle": [{"handler": "proxyos", "upstreams": ["a:1"]}]},
				{"match": [{"path": ["/x"]}], "handle": [{"handler": "proxyos", "name": "shop", ` + wrong + `}]}]}]}`,
			"route shop of site a.example, path /x: traffic_split: ",
		},
		{"the second site", `{"match": [{"host": ["a.example"]}], "handle": [{"handler": "proxyos", "upstreams": ["a:1"]}]},
			{"match": [{"host": ["b.example"]}], "handle": [{"handler": "proxyos", ` + wrong + `}]}`, "site b.example: traffic_split: "},
		{"neither", `{"handle": [{"handler": "proxyos", "name": "shop", ` + wrong + `}]}`, "route shop: traffic_split: "},
		{"what loading finds", `{"match": [{"host": ["a.example"]}], "handle": [{"handler": "proxyos", "upstreams": ["https://a:1"], "transport": {"protocol": "http", "tls": {"ca": {"provider": "none"}}}}]}`, "site a.example: upstream "},
		{
			"the name of another site's", `{"match": [{"host": ["a.example"]}], "handle": [{"handler": "proxyos", "name": "shop", "upstreams": ["a:1"]}]},
			{"match": [{"host": ["b.example"]}], "handle": [{"handler": "proxyos", "name": "shop", "upstreams": ["b:1"]}]}`,
			`route shop of site b.example: name "shop": another proxyos route already has it, the one of site a.example, with the upstream a:1; give`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var config caddy.Config
			text := `{"apps": {"http": {"servers": {"test": {"listen": ["127.0.0.1:443"], "automatic_https": {"disable": true}, "routes": [` + c.routes + `]}}}}}`
			if err := json.Unmarshal([]byte(text), &config); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(&config)
			if err == nil || !strings.Contains(err.Error(), "provision http.handlers.proxyos: "+c.want) {
				t.Errorf("\ngot  %v\nwant %s", err, c.want)
			}
		})
	}
}
