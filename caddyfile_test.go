package proxyos

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// site is a Caddyfile of one site, whose only directive begins on line 2.
func site(directive string) string {
	return "http://127.0.0.1:9080 {\n" + directive + "\n}\n"
}

func adapt(text string) (string, error) {
	config, err := proxytest.AdaptCaddyfile(text)
	return string(config), err
}

// adaptHandler returns the JSON of the handler that a directive stands for.
func adaptHandler(t testing.TB, directive string) string {
	t.Helper()
	config, err := adapt(site(directive))
	if err != nil {
		t.Fatalf("%s\n%v", directive, err)
	}
	var decoded struct {
		Apps struct {
			HTTP struct {
				Servers struct {
					Srv0 struct {
						Routes []struct {
							Handle []struct {
								Routes []struct{ Handle []json.RawMessage }
							}
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(config), &decoded); err != nil {
		t.Fatal(err)
	}
	return proxytest.Canonical(t, string(decoded.Apps.HTTP.Servers.Srv0.Routes[0].Handle[0].Routes[0].Handle[0]))
}

// Each pair means the same. It is loaded both ways, and survives decoding and encoding.
var pairs = []struct {
	name, directive, handler string
}{
	{"addresses after the directive", "proxyos a:1 https://b", `{"upstreams": ["a:1", "https://b"]}`},
	{"addresses in the block", "proxyos {\nto a:1 b:2\nto c:3\n}", `{"upstreams": ["a:1", "b:2", "c:3"]}`},
	{"both", "proxyos a:1 {\nto b:2\n}", `{"upstreams": ["a:1", "b:2"]}`},
	{"an upstream without options", "proxyos {\nupstream a:1\n}", `{"upstreams": ["a:1"]}`},
	{
		"upstreams in the order in which they stand", "proxyos a:1 {\nupstream b:2 {\nweight 3\n}\nto c:3\n}",
		`{"upstreams": ["a:1", {"address": "b:2", "weight": 3}, "c:3"]}`,
	},
	{
		"every option of an upstream", `proxyos {
			upstream https://a:1 {
				weight 0
				max_requests 7
				skip_tls_verify off
				tls_server_name n
				tls_trust_pool inline {
					trust_der MIIB
				}
				tls_client_auth cert key
			}
			to b:2
		}`,
		`{"upstreams": [{"address": "https://a:1", "weight": 0, "max_requests": 7, "skip_tls_verify": false, "tls": {
			"server_name": "n", "ca": {"provider": "inline", "trusted_ca_certs": ["MIIB"]},
			"client_certificate_file": "cert", "client_certificate_key_file": "key"}}, "b:2"]}`,
	},
	{
		"a backup", "proxyos a:1 {\nupstream b:2 {\nbackup\n}\n}",
		`{"upstreams": ["a:1", {"address": "b:2", "backup": true}]}`,
	},
	{"slow_start", "proxyos a:1 {\nslow_start 30s\n}", `{"upstreams": ["a:1"], "slow_start": 30000000000}`},
	{"eject", "proxyos a:1 {\neject 5xx 0.5\n}", `{"upstreams": ["a:1"], "eject": {"ratio": 0.5}}`},
	{
		"eject with everything", "proxyos a:1 {\neject 5xx 25% min 5 in 20s for 1m max 33%\n}",
		`{"upstreams": ["a:1"], "eject": {"ratio": 0.25, "min_requests": 5, "window": 20000000000, "for": 60000000000, "max_percent": 33}}`,
	},
	{"retry_budget", "proxyos a:1 {\nretry_budget 10%\n}", `{"upstreams": ["a:1"], "retry_budget": {"percent": 10}}`},
	{"retry_budget with a minimum", "proxyos a:1 {\nretry_budget 10 min 0\n}", `{"upstreams": ["a:1"], "retry_budget": {"percent": 10, "min_per_second": 0}}`},
	{"retry_budget off", "proxyos a:1 {\nretry_budget off\n}", `{"upstreams": ["a:1"], "retry_budget": {"off": true}}`},
	{
		"a release with the defaults", "proxyos a:1 {\nname x\nstaging b:1\nrelease\n}",
		`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": {}}`,
	},
	{
		"a release with an empty block", "proxyos a:1 {\nname x\nstaging b:1\nrelease {\n}\n}",
		`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": {}}`,
	},
	{
		"a release with everything", `proxyos a:1 {
			name x
			staging b:1
			release {
				steps 0.5% 5 25% 100
				hold 1m
				min_requests 50
				errors 2x
				slower 1.25
				max_errors 0.5%
				confidence 99.9%
				approve 25 100%
				deadline 1d
				on_fail pause
				notify https://hooks.example.com/releases?a=b
				dry_run
			}
		}`,
		`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": {
			"steps": [0.5, 5, 25, 100], "hold": 60000000000, "min_requests": 50, "errors": 2, "slower": 1.25, "max_errors": 0.5, "confidence": 99.9,
			"approve": [25, 100], "deadline": 86400000000000, "on_fail": "pause", "notify": "https://hooks.example.com/releases?a=b", "dry_run": true}}`,
	},
	{
		"a release without two of its tests", "proxyos a:1 {\nname x\nstaging b:1\nrelease {\nhold 0\nerrors off\nslower off\non_fail rollback\n}\n}",
		`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": {"hold": 0, "errors": 0, "slower": 0, "on_fail": "rollback"}}`,
	},
	{
		"a release without one", "proxyos a:1 {\nname x\nstaging b:1\nrelease {\nmax_errors off\nnotify http://[::1]:8080\n}\n}",
		`{"name": "x", "upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "release": {"max_errors": 0, "notify": "http://[::1]:8080"}}`,
	},
	{"fast_path", "proxyos a:1 {\nfast_path\n}", `{"upstreams": ["a:1"], "fast_path": true}`},
	{"fast_path off", "proxyos a:1 {\nfast_path off\n}", `{"upstreams": ["a:1"], "fast_path": false}`},
	{"skip_tls_verify", "proxyos a:1 {\nskip_tls_verify\n}", `{"upstreams": ["a:1"], "skip_tls_verify": true}`},
	{"skip_tls_verify on", "proxyos a:1 {\nskip_tls_verify on\n}", `{"upstreams": ["a:1"], "skip_tls_verify": true}`},
	{"skip_tls_verify off", "proxyos a:1 {\nskip_tls_verify off\n}", `{"upstreams": ["a:1"], "skip_tls_verify": false}`},
	{
		"staging on one line", "proxyos a:1 {\nstaging b:1 c:1\ntraffic_split 10\n}",
		`{"upstreams": ["a:1"], "staging": {"upstreams": ["b:1", "c:1"]}, "traffic_split": 10}`,
	},
	{
		"staging in a block", `proxyos a:1 {
			name app
			staging b:1 {
				to c:1
				upstream d:1 {
					skip_tls_verify
				}
				lb_policy first
				skip_tls_verify off
			}
			traffic_split 0.5%
		}`,
		`{"name": "app", "upstreams": ["a:1"], "traffic_split": 0.5, "staging": {
			"upstreams": ["b:1", "c:1", {"address": "d:1", "skip_tls_verify": true}],
			"load_balancing": {"selection_policy": {"policy": "first"}}, "skip_tls_verify": false}}`,
	},
	{
		"no share of the traffic", "proxyos a:1 {\nstaging b:1\ntraffic_split 0\n}",
		`{"upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}, "traffic_split": 0}`,
	},
	{
		"a dynamic group", "proxyos {\ndynamic a app 3000\nstaging {\ndynamic a next 3000\n}\ntraffic_split 1\n}",
		`{"dynamic_upstreams": {"source": "a", "name": "app", "port": "3000"}, "traffic_split": 1,
			"staging": {"dynamic_upstreams": {"source": "a", "name": "next", "port": "3000"}}}`,
	},
	{
		"what is reverse_proxy's", `proxyos a:1 {
			lb_policy header X {
				fallback first
			}
			lb_retries 3
			health_uri /up
			header_up Host {upstream_hostport}
			transport http {
				dial_timeout 1s
				tls_server_name n
			}
			flush_interval -1
			handle_response {
				respond 404
			}
		}`,
		`{"upstreams": ["a:1"],
			"load_balancing": {"retries": 3, "selection_policy": {"policy": "header", "field": "X", "fallback": {"policy": "first"}}},
			"health_checks": {"active": {"uri": "/up"}},
			"headers": {"request": {"set": {"Host": ["{http.reverse_proxy.upstream.hostport}"]}}},
			"transport": {"protocol": "http", "dial_timeout": 1000000000, "tls": {"server_name": "n"}},
			"flush_interval": -1,
			"handle_response": [{"routes": [{"handle": [{"handler": "static_response", "status_code": 404}]}]}]}`,
	},
	{
		"zeros that turn defaults off", "proxyos a:1 b:1 {\nlb_retries 0\nlb_try_duration 0\nfail_duration 0\n}",
		`{"upstreams": ["a:1", "b:1"], "load_balancing": {"retries": 0, "try_duration": 0}, "health_checks": {"passive": {"fail_duration": 0}}}`,
	},
	{"another transport", "proxyos a:1 {\ntransport fastcgi\n}", `{"upstreams": ["a:1"], "transport": {"protocol": "fastcgi"}}`},
	{"an http transport that says nothing", "proxyos a:1 {\ntransport http\n}", `{"upstreams": ["a:1"]}`},
}

func TestDirectiveAndJSONSayTheSame(t *testing.T) {
	for _, pair := range pairs {
		t.Run(pair.name, func(t *testing.T) {
			var named object
			if err := json.Unmarshal([]byte(pair.handler), &named); err != nil {
				t.Fatal(err)
			}
			named["handler"] = json.RawMessage(`"proxyos"`)
			if got, want := adaptHandler(t, pair.directive), proxytest.Canonical(t, string(encode(named))); got != want {
				t.Errorf("\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

func TestDirectiveNeedsNoOrderOption(t *testing.T) {
	config, err := adapt(site("respond 404\nproxyos a:1\nheader X y\nreverse_proxy b:1"))
	if err != nil {
		t.Fatal(err)
	}
	var before []int
	for _, handler := range []string{"headers", "static_response", "proxyos", "reverse_proxy"} {
		before = append(before, strings.Index(config, `"handler":"`+handler+`"`))
	}
	if before[0] < 0 || before[0] > before[1] || before[1] > before[2] || before[2] > before[3] {
		t.Errorf("header, respond, proxyos and reverse_proxy stand at %v in %s", before, config)
	}
}

func TestDirectiveTakesMatchers(t *testing.T) {
	const handler = `"handle":[{"handler":"proxyos","upstreams":["b:1"]}]`
	for directive, want := range map[string]string{
		"proxyos /a b:1":     `{` + handler + `,"match":[{"path":["/a"]}]}`,
		"proxyos @posts b:1": `{` + handler + `,"match":[{"method":["POST"]}]}`,
		"proxyos * b:1":      `{` + handler + `}`,
	} {
		config, err := adapt(site("@posts method POST\n" + directive))
		if err != nil {
			t.Errorf("%s: %v", directive, err)
		} else if got := proxytest.Canonical(t, config); !strings.Contains(got, `"routes":[`+want+`]`) {
			t.Errorf("%s: no %s in %s", directive, want, got)
		}
	}
}

func TestGlobalOption(t *testing.T) {
	config, err := adapt("{\nproxyos {\nhttps_ports -443 +5001\nsync_interval 2s\nfast_path off\nupstream_metrics\n}\n}\n" + site("proxyos a:1"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `"proxyos":{"https_ports":[8006,8007,8443,9090,9443,10443,5001],"sync_interval":2000000000,"fast_path":false,"upstream_metrics":true}`
	if !strings.Contains(config, want) {
		t.Errorf("no %s in %s", want, config)
	}
}

func TestFormatterLeavesADirectiveAsItIs(t *testing.T) {
	const formatted = `http://127.0.0.1:9080 {
	proxyos a:1 {
		upstream b:1 {
			weight 2
		}
		staging c:1 {
			skip_tls_verify
		}
		traffic_split 10%
	}
}
`
	if got := string(caddyfile.Format([]byte(strings.ReplaceAll(formatted, "\t", " ")))); got != formatted {
		t.Errorf("got\n%s", got)
	}
}

// These are rejected while a Caddyfile is adapted. The directive begins on line 2.
func TestWrongCaddyfilesAreRejected(t *testing.T) {
	const (
		percent = `; write the percentage of requests for staging`
		again   = " is already specified; write it once"
	)
	count := func(usage string) string {
		name, _, _ := strings.Cut(usage, " ")
		return name + ": wrong argument count; write `" + usage + "`"
	}
	for _, c := range []struct {
		name, directive, want string
		line                  int
	}{
		{"an address with a path", "proxyos app:3000/api", "upstream \"app:3000/api\": an upstream takes no path; write only the host and the port, and use `rewrite` to change the URI", 2},
		{"an address for a browser", "proxyos wss://app", `upstream "wss://app": use https://app: WebSockets do not need a scheme of their own`, 2},
		{"an address that is empty", `proxyos ""`, `upstream "": the address is empty; write a host and a port, such as app:3000`, 2},
		{"an address in `to`", "proxyos {\nto app:99999\n}", `upstream "app:99999": port "99999" is not a number from 1 to 65535`, 3},
		{"an address in `upstream`", "proxyos {\nupstream ftp://app\n}", `upstream "ftp://app": the scheme ftp:// is not supported; write http://, https:// or h2c://, or no scheme`, 3},
		{"an address in staging", "proxyos a:1 {\nstaging b:1?x\n}", "upstream \"b:1?x\": an upstream takes no query; write only the host and the port, and use `rewrite` to change the URI", 3},
		{"addresses with commas", "proxyos a:1,b:1", `upstream "a:1,b:1": an upstream is one address; separate several with spaces`, 2},
		{"nothing behind `to`", "proxyos {\nto\n}", count("to <addresses...>"), 3},
		{"nothing behind `upstream`", "proxyos {\nupstream {\n}\n}", "upstream takes one address, and options in a block; write `to` for several addresses", 3},
		{"two addresses behind `upstream`", "proxyos {\nupstream a:1 b:1\n}", "upstream takes one address, and options in a block; write `to` for several addresses", 3},

		{"a share below 0", "proxyos a:1 {\nstaging b:1\ntraffic_split -1\n}", `traffic_split: "-1" is outside 0 to 100` + percent, 4},
		{"a share above 100", "proxyos a:1 {\nstaging b:1\ntraffic_split 101\n}", `traffic_split: "101" is outside 0 to 100` + percent, 4},
		{"a share that is not a number", "proxyos a:1 {\nstaging b:1\ntraffic_split NaN\n}", `traffic_split: "NaN" is not a percentage; write a number from 0 to 100, such as 10 or 0.5%`, 4},
		{"a share in words", "proxyos a:1 {\nstaging b:1\ntraffic_split ten\n}", `traffic_split: "ten" is not a percentage; write a number from 0 to 100, such as 10 or 0.5%`, 4},
		{"a share that is missing", "proxyos a:1 {\nstaging b:1\ntraffic_split\n}", count("traffic_split <percent>[%]"), 4},
		{"a share and more", "proxyos a:1 {\nstaging b:1\ntraffic_split 10 20\n}", count("traffic_split <percent>[%]"), 4},

		{"a matcher and more", "proxyos a:1 {\nstaging b:1\nstaging_when /a /b\n}", count("staging_when <matcher>"), 4},
		{"no pin", "proxyos {\nupstream https://a:1 {\ntls_pin\n}\n}", count("tls_pin <sha256...>"), 4},

		{"two shares", "proxyos a:1 {\nstaging b:1\ntraffic_split 10\ntraffic_split 20\n}", "traffic_split" + again, 5},
		{"two staging groups", "proxyos a:1 {\nstaging b:1\nstaging c:1\ntraffic_split 10\n}", "staging" + again, 4},
		{"two names", "proxyos a:1 {\nname x\nname y\n}", "name" + again, 4},
		{"two transports", "proxyos a:1 {\ntransport http\ntransport http\n}", "transport" + again, 4},
		{"two skip_tls_verify", "proxyos a:1 {\nskip_tls_verify\nskip_tls_verify off\n}", "skip_tls_verify" + again, 4},
		{"two skip_tls_verify in staging", "proxyos a:1 {\nstaging b:1 {\nskip_tls_verify\nskip_tls_verify\n}\n}", "skip_tls_verify" + again, 5},
		{"two policies in staging", "proxyos a:1 {\nstaging b:1 {\nlb_policy first\nlb_policy random\n}\n}", "lb_policy" + again, 5},
		{"two weights", "proxyos {\nupstream a:1 {\nweight 1\nweight 2\n}\n}", "weight" + again, 5},

		{"an unknown subdirective", "proxyos a:1 {\ntraffic 10\n}", `unrecognized subdirective "traffic"; did you mean traffic_split?`, 3},
		{"a mistyped subdirective", "proxyos a:1 {\nstagging b:1\n}", `unrecognized subdirective "stagging"; did you mean staging?`, 3},
		{"sticky cookie with something else", "proxyos a:1 {\nstaging b:1\nsticky cookie a b\n}", "sticky takes `cookie [<name> [cacheable]]` or `key <placeholder>`, not \"cookie a b\"", 4},
		{"an unknown subdirective of staging", "proxyos a:1 {\nstaging b:1 {\nweight 3\n}\n}", `unrecognized subdirective "weight" of staging; it takes to, upstream, dynamic, lb_policy and skip_tls_verify`, 4},
		{"an unknown option of an upstream", "proxyos {\nupstream a:1 {\nwieght 3\n}\n}", `unrecognized subdirective "wieght"; did you mean weight?`, 4},
		{"an option that an upstream does not have", "proxyos {\nupstream a:1 {\ntimeout 3s\n}\n}", `unrecognized subdirective "timeout" of upstream "a:1"; it takes ` + upstreamBlock.names(), 4},
		{"an unknown option of the transport", "proxyos a:1 {\ntransport http {\ntimeout 3s\n}\n}", "unrecognized subdirective timeout", 4},

		{"skip_tls_verify neither on nor off", "proxyos a:1 {\nskip_tls_verify maybe\n}", `skip_tls_verify takes on or off, not "maybe"`, 3},
		{"skip_tls_verify on and off", "proxyos a:1 {\nskip_tls_verify on off\n}", `skip_tls_verify takes on or off, not "on off"`, 3},
		{"fast_path neither on nor off", "proxyos a:1 {\nfast_path maybe\n}", `fast_path takes on or off, not "maybe"`, 3},
		{"two fast_path", "proxyos a:1 {\nfast_path\nfast_path off\n}", "fast_path" + again, 4},
		{"a weight below 0", "proxyos {\nupstream a:1 {\nweight -1\n}\n}", `upstream "a:1": weight -1 is outside 0 to 1000`, 5},
		{"a weight above 1000", "proxyos {\nupstream a:1 {\nweight 1001\n}\n}", `upstream "a:1": weight 1001 is outside 0 to 1000`, 5},
		{"a weight that is not a whole number", "proxyos {\nupstream a:1 {\nweight 1.5\n}\n}", `weight: "1.5" is not a whole number`, 4},
		{"a weight that is missing", "proxyos {\nupstream a:1 {\nweight\n}\n}", count("weight <n>"), 4},
		{"backup with an argument", "proxyos {\nupstream a:1 {\nbackup yes\n}\n}", "backup: wrong argument count; write `backup`", 4},
		{"slow_start without a unit", "proxyos a:1 {\nslow_start 30\n}", `slow_start: "30" is not a duration; write one such as 30s`, 3},
		{"slow_start below 0", "proxyos a:1 {\nslow_start -1s\n}", `slow_start: -1s is outside 1s to 24h0m0s; write how long an upstream that comes back warms up, such as 30s`, 2},
		{"slow_start beside a policy", "proxyos a:1 {\nslow_start 1s\nlb_policy first\n}", `slow_start belongs to the default policy; remove lb_policy, or slow_start`, 2},
		{"eject without a ratio", "proxyos a:1 {\neject 5xx\n}", "eject: wrong argument count; write `eject 5xx <ratio>|<percent>% [min <requests>] [in <duration>] [for <duration>] [max <percent>%]`", 3},
		{"eject of others", "proxyos a:1 {\neject 4xx 50%\n}", `eject: "4xx" is none of the failures that count; write 5xx`, 3},
		{"eject with no number", "proxyos a:1 {\neject 5xx half\n}", `eject: "half" is not a ratio; write one such as 0.5 or 50%`, 3},
		{"eject above 1", "proxyos a:1 {\neject 5xx 50\n}", `eject: a ratio of 50 is not above 0 and up to 1; write how much of the requests must fail, such as 0.5 or 50%`, 3},
		{"eject of nothing", "proxyos a:1 {\neject 5xx 0\n}", `eject: a ratio of 0 is not above 0 and up to 1; write how much of the requests must fail, such as 0.5 or 50%`, 3},
		{"eject with half a second", "proxyos a:1 {\neject 5xx 0.5 in 1500ms\n}", `eject: in 1.5s is not a number of whole seconds from 1s to 10m0s; write how far back to look, such as 10s`, 3},
		{"eject for too long", "proxyos a:1 {\neject 5xx 0.5 for 2h\n}", `eject: for 2h0m0s is outside 1s to 1h0m0s; write for how long an upstream is out, such as 30s`, 3},
		{"eject for no time", "proxyos a:1 {\neject 5xx 0.5 for long\n}", `eject: for "long" is not a duration above 0; write one such as 30s`, 3},
		{"eject min 0", "proxyos a:1 {\neject 5xx 0.5 min 0\n}", `eject: min 0 is below 1; write how many requests there must have been, such as 20`, 3},
		{"eject min x", "proxyos a:1 {\neject 5xx 0.5 min x\n}", `eject: min "x" is not a whole number`, 3},
		{"eject max 101", "proxyos a:1 {\neject 5xx 0.5 max 101%\n}", `eject: max 101 is outside 0 to 100; write how much of a group may be out, as a percentage`, 3},
		{"eject max x", "proxyos a:1 {\neject 5xx 0.5 max x\n}", `eject: max "x" is not a percentage; write one such as 50%`, 3},
		{"eject in no time", "proxyos a:1 {\neject 5xx 0.5 in 0s\n}", `eject: in "0s" is not a duration above 0; write one such as 30s`, 3},
		{"eject min twice", "proxyos a:1 {\neject 5xx 0.5 min 3 min 4\n}", `eject: min is given twice; write it once`, 3},
		{"eject max of half a percent", "proxyos a:1 {\neject 5xx 0.5 max 0.5\n}", `eject: max 0.5 is less than one percent; write 0.5% if that is meant, or a percentage such as 50%`, 3},
		{"retry_budget of a fifth", "proxyos a:1 {\nretry_budget 0.2\n}", `retry_budget: 0.2 is less than one percent; write 0.2% if that is meant, or a percentage such as 20%`, 3},
		{"eject with something else", "proxyos a:1 {\neject 5xx 0.5 after 3\n}", `eject takes min, in, for and max, not "after"`, 3},
		{"retry_budget of nothing", "proxyos a:1 {\nretry_budget\n}", "retry_budget: wrong argument count; write `retry_budget <percent>[%] [min <per_second>] | retry_budget off`", 3},
		{"retry_budget of words", "proxyos a:1 {\nretry_budget few\n}", `retry_budget: "few" is not a percentage; write one such as 20%, or off`, 3},
		{"retry_budget below 0", "proxyos a:1 {\nretry_budget -1\n}", `retry_budget: -1 is outside 0 to 1000; write how many retries there may be as a percentage of the requests, or off`, 3},
		{"retry_budget with max", "proxyos a:1 {\nretry_budget 20% max 10\n}", `retry_budget takes min after the percentage, not "max"`, 3},
		{"retry_budget min x", "proxyos a:1 {\nretry_budget 20% min x\n}", `retry_budget: min "x" is not a whole number`, 3},
		{"retry_budget min below 0", "proxyos a:1 {\nretry_budget 20% min -1\n}", `retry_budget: min -1 is outside 0 to 1000000; write how many retries there may be each second in any case`, 3},
		{"only backups", "proxyos {\nupstream a:1 {\nbackup\n}\n}", `every upstream of production is a backup; remove backup from those that are to get requests at any time`, 2},
		{"max_requests below 0", "proxyos {\nupstream a:1 {\nmax_requests -1\n}\n}", `upstream "a:1": max_requests -1 is negative; write how many requests it may have in flight, or 0 for no limit`, 5},
		{"a trust pool that does not exist", "proxyos {\nupstream https://a:1 {\ntls_trust_pool bogus\n}\n}", "getting module named 'tls.ca_pool.source.bogus': module not registered: tls.ca_pool.source.bogus", 4},

		{"a name with white space", "proxyos a:1 {\nname \"my app\"\n}", `name "my app": write 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit`, 3},
		{"a name that is a path", "proxyos a:1 {\nname a/b\n}", `name "a/b": write 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit`, 3},
		{"a name that is too long", "proxyos a:1 {\nname " + strings.Repeat("a", 65) + "\n}", `name "` + strings.Repeat("a", 65) + `": write 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit`, 3},
		{"a name that is missing", "proxyos a:1 {\nname\n}", count("name <name>"), 3},

		{"a policy that does not exist", "proxyos a:1 {\nlb_policy fastest\n}", "getting module named 'http.reverse_proxy.selection_policies.fastest': module not registered: http.reverse_proxy.selection_policies.fastest", 3},
		{"a transport that does not exist", "proxyos a:1 {\ntransport quic\n}", "getting module named 'http.reverse_proxy.transport.quic': module not registered: http.reverse_proxy.transport.quic", 3},
		{"a transport without a name", "proxyos a:1 {\ntransport\n}", count("transport <module> {...}"), 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := adapt(site(c.directive))
			if err == nil {
				t.Fatalf("accepted as %s", config)
			}
			directive, _, _ := strings.Cut(c.directive, " ")
			want := fmt.Sprintf("parsing caddyfile tokens for '%s': %s, at Caddyfile:%d", directive, c.want, c.line)
			if err.Error() != want {
				t.Errorf("\ngot  %s\nwant %s", err, want)
			}
		})
	}
}

func TestWrongGlobalOptionsAreRejected(t *testing.T) {
	for _, c := range []struct{ name, option, want string }{
		{"an argument", "proxyos on", `the proxyos option takes a block, not "on", at Caddyfile:2`},
		{"written twice", "proxyos\nproxyos", "the proxyos option is already specified; write it once, at Caddyfile:3"},
		{"an unknown option", "proxyos {\nports 1\n}", `unrecognized subdirective "ports" of proxyos; it takes https_ports, sync_interval, fast_path and upstream_metrics, at Caddyfile:3`},
		{"ports twice", "proxyos {\nhttps_ports 1\nhttps_ports 2\n}", "https_ports is already specified; write it once, at Caddyfile:4"},
		{"no port", "proxyos {\nhttps_ports\n}", "https_ports: no port given; write the ports that mean HTTPS, or +8444 to add one, at Caddyfile:3"},
		{"a port out of range", "proxyos {\nhttps_ports 65536\n}", `https_ports: port "65536" is not a number from 1 to 65535, at Caddyfile:3`},
		{"an empty port", "proxyos {\nhttps_ports \"\"\n}", `https_ports: port "" is not a number from 1 to 65535, at Caddyfile:3`},
		{"an interval that is not a duration", "proxyos {\nsync_interval soon\n}", `sync_interval: "soon" is not a duration; write one such as 5s, at Caddyfile:3`},
		{"no interval", "proxyos {\nsync_interval\n}", "sync_interval: wrong argument count; write `sync_interval <duration>`, at Caddyfile:3"},
		{"fast_path neither on nor off", "proxyos {\nfast_path maybe\n}", `fast_path takes on or off, not "maybe", at Caddyfile:3`},
		{"two fast_path", "proxyos {\nfast_path on\nfast_path off\n}", "fast_path is already specified; write it once, at Caddyfile:4"},
		{"upstream_metrics neither on nor off", "proxyos {\nupstream_metrics all\n}", `upstream_metrics takes on or off, not "all", at Caddyfile:3`},
		{"two upstream_metrics", "proxyos {\nupstream_metrics\nupstream_metrics off\n}", "upstream_metrics is already specified; write it once, at Caddyfile:4"},
		{"two intervals", "proxyos {\nsync_interval 1s\nsync_interval 2s\n}", "sync_interval is already specified; write it once, at Caddyfile:4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := adapt("{\n" + c.option + "\n}\n" + site("proxyos a:1"))
			if err == nil {
				t.Fatalf("accepted as %s", config)
			}
			if want := "parsing caddyfile tokens for 'proxyos': " + c.want; err.Error() != want {
				t.Errorf("\ngot  %s\nwant %s", err, want)
			}
		})
	}
}

func FuzzDirective(f *testing.F) {
	for _, pair := range pairs {
		f.Add(pair.directive)
	}
	f.Add("proxyos {\nupstream a:1 {\n")
	f.Fuzz(func(t *testing.T, directive string) {
		if strings.Contains(directive, "import") {
			return // it reads files
		}
		adapt(site(directive)) // must not panic
	})
}
