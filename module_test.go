package proxyos

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// validate loads a config that serves handlers, as `caddy validate` does. app is the JSON
// of the app's settings.
func validate(t testing.TB, app string, handlers ...string) error {
	t.Helper()
	text := fmt.Sprintf(`{
		"storage": {"module": "file_system", "root": %q},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"proxyos": %s, "http": {"servers": {"test": {
			"listen": ["127.0.0.1:9080"], "automatic_https": {"disable": true},
			"routes": [{"handle": [%s]}]}}}}}`, t.TempDir(), app, strings.Join(handlers, ","))
	var config caddy.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return caddy.Validate(&config)
}

// named adds the handler's name to the JSON of its fields.
func named(handler string) string {
	return `{"handler": "proxyos", ` + strings.TrimPrefix(handler, "{")
}

func TestEveryPairLoads(t *testing.T) {
	for _, pair := range pairs {
		if pair.name == "every option of an upstream" {
			continue // its certificates are not files
		}
		t.Run(pair.name, func(t *testing.T) {
			if err := validate(t, "{}", named(pair.handler)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHandlerSurvivesDecodingAndEncoding(t *testing.T) {
	all := pairs[:len(pairs):len(pairs)]
	all = append(all, struct{ name, directive, handler string }{name: "every field of its own", handler: `{
		"name": "app", "upstreams": ["a:1", {"address": "b:1", "weight": 0}], "traffic_split": 0, "skip_tls_verify": false,
		"staging": {"upstreams": ["c:1"], "load_balancing": {"selection_policy": {"policy": "first"}}, "skip_tls_verify": true},
		"sticky": {"cookie": "c"}, "staging_when": {"path": ["/a"]}, "production_when": [{"path": ["/b"]}, {"path": ["/c"]}],
		"staging_fallback": false, "verbose_logs": true, "release": {"min_requests": 1, "errors": 0}}`})
	for _, pair := range all {
		t.Run(pair.name, func(t *testing.T) {
			h := new(Handler)
			if err := json.Unmarshal([]byte(pair.handler), h); err != nil {
				t.Fatal(err)
			}
			encoded, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := proxytest.Canonical(t, string(encoded)), proxytest.Canonical(t, pair.handler); got != want {
				t.Errorf("\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

func TestNamesOfFieldsAreTakenInEitherCase(t *testing.T) {
	for _, handler := range []string{
		`{"Upstreams": ["a:1", "b:1"], "NAME": "x"}`,
		`{"Upstreams": ["a:1", "b:1"], "NAME": "x", "Flush_Interval": -1}`,
	} {
		h := new(Handler)
		if err := json.Unmarshal([]byte(handler), h); err != nil {
			t.Errorf("%s: %v", handler, err)
			continue
		}
		if h.Name != "x" || len(h.Upstreams) != 2 {
			t.Errorf("%s: got %+v", handler, h)
		}
		if strings.Contains(handler, "Flush") != (string(h.ReverseProxy["flush_interval"]) == "-1") {
			t.Errorf("%s: got %s for reverse_proxy", handler, h.ReverseProxy)
		}
	}
}

func TestNullFieldsAreTreatedAsMissing(t *testing.T) {
	for _, handler := range []string{
		`{"upstreams": ["a:1", "b:1"], "name": null, "staging": null, "traffic_split": null, "transport": null, "load_balancing": null, "health_checks": null, "headers": null, "dynamic_upstreams": null}`,
		`{"upstreams": ["a:1", "b:1"], "load_balancing": {"retries": null, "selection_policy": null}, "health_checks": {"passive": null, "active": null}}`,
		`{"upstreams": ["a:1"], "traffic_split": 1, "staging": {"upstreams": ["b:1"], "dynamic_upstreams": null, "load_balancing": {"selection_policy": null}, "skip_tls_verify": null}}`,
		`{"upstreams": ["a:1", "b:1"], "health_checks": {"active": {"uri": "/", "port": 1, "headers": null}, "passive": {"fail_duration": null}}}`,
	} {
		if err := validate(t, "{}", named(handler)); err != nil {
			t.Errorf("%s: %v", handler, err)
		}
	}
}

// What loading rejects, in JSON or after a Caddyfile was adapted.
func TestWrongConfigsAreRejectedAtLoad(t *testing.T) {
	const (
		provision = "provision http.handlers.proxyos: "
		own       = "; proxyos takes the fields of reverse_proxy and name, upstreams, staging, traffic_split, skip_tls_verify, sticky, staging_when, production_when, staging_fallback, release, slow_start, eject, retry_budget, retry_buffer, fast_path"
		none      = "there is no upstream to send requests to; write one, such as app:3000"
		noGroup   = "there is no staging group; add `staging <addresses...>`, or remove "
		noModule  = "loading module 'proxyos': unknown module: http.reverse_proxy."
		inStaging = `{"upstreams": ["a:1"], "traffic_split": 1, "staging": `
		oneName   = `": write 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit`
		otherWay  = "; write both the same way, or change one of the addresses"
	)
	for _, c := range []struct{ name, handler, want string }{
		{"no upstream", `{"upstreams": null}`, provision + none},
		{"an empty list of upstreams", `{"upstreams": []}`, provision + none},
		{"an upstream without an address", `{"upstreams": [{"weight": 1}]}`, provision + `upstream "": the address is empty; write a host and a port, such as app:3000`},
		{"an upstream that is a number", `{"upstreams": [3000]}`, provision + `upstream 3000: write an address, such as "app:3000", or an object with one`},
		{"an upstream with two addresses", `{"upstreams": [{"address": "a:1", "dial": "b:1"}]}`, provision + `upstream "a:1": both address and dial ("b:1") are given; keep one of them`},
		{"upstreams that are no list", `{"upstreams": "a:1"}`, provision + "upstreams: a string is not valid here; write a list"},
		{"an address with a path", `{"upstreams": ["http://a:1/x"]}`, provision + "upstream \"http://a:1/x\": an upstream takes no path; write only the host and the port, and use `rewrite` to change the URI"},
		{"an address of reverse_proxy's that is wrong", `{"upstreams": [{"dial": "a:0"}]}`, provision + `upstream "a:0": port "0" is not a number from 1 to 65535`},

		{"a share below 0", inStaging + `{"upstreams": ["b:1"]}, "traffic_split": -1}`, provision + "traffic_split: -1 is outside 0 to 100; write the percentage of requests for staging"},
		{"a share above 100", inStaging + `{"upstreams": ["b:1"]}, "traffic_split": 101}`, provision + "traffic_split: 101 is outside 0 to 100; write the percentage of requests for staging"},
		{"a share that is a string", inStaging + `{"upstreams": ["b:1"]}, "traffic_split": "10"}`, provision + "traffic_split: a string is not valid here; write a number"},
		{"a share without staging", `{"upstreams": ["a:1"], "traffic_split": 10}`, provision + "traffic_split: there is no staging group to send it to; add `staging <addresses...>`, or remove traffic_split"},
		{"staging without a share", `{"upstreams": ["a:1"], "staging": {"upstreams": ["b:1"]}}`, provision + "staging: no request could ever reach it; add `traffic_split <percent>` or `staging_when <matcher>`"},
		{"staging without upstreams", inStaging + `{}}`, provision + "staging: " + none},
		{"staging with a wrong address", inStaging + `{"upstreams": ["ws://b"]}}`, provision + `staging: upstream "ws://b": use http://b: WebSockets do not need a scheme of their own`},
		{"sticky without staging", `{"upstreams": ["a:1"], "sticky": {"cookie": "c"}}`, provision + "sticky: " + noGroup + "sticky"},
		{"staging_when without staging", `{"upstreams": ["a:1"], "staging_when": {"path": ["/"]}}`, provision + "staging_when: " + noGroup + "staging_when"},
		{"production_when without staging", `{"upstreams": ["a:1"], "production_when": {"path": ["/"]}}`, provision + "production_when: " + noGroup + "production_when"},
		{"staging_fallback without staging", `{"upstreams": ["a:1"], "staging_fallback": false}`, provision + "staging_fallback: " + noGroup + "staging_fallback"},

		{"an unknown field", `{"upstreams": ["a:1"], "split": 10}`, provision + `unknown field "split"` + own},
		{"a field that is nearly one", `{"upstreams": ["a:1"], "trafic_split": 10}`, provision + `unknown field "trafic_split"; did you mean traffic_split?`},
		{"an unknown field of an upstream", `{"upstreams": [{"address": "a:1", "wieght": 1}]}`, provision + `upstream {"address":"a:1","wieght":1}: unknown field "wieght"`},
		{"an unknown field of an upstream's TLS", `{"upstreams": [{"address": "https://a:1", "tls": {"name": "n"}}]}`, provision + `upstream {"address":"https://a:1","tls":{"name":"n"}}: unknown field "name"`},
		{"an unknown field of an upstream's CA pool", `{"upstreams": [{"address": "https://a:1", "tls": {"ca": {"provider": "inline", "file": "f"}}}]}`, provision + `upstream "https://a:1": making TLS client config: failed to load ca module: loading module 'inline': decoding module config: tls.ca_pool.source.inline: json: unknown field "file"`},
		{"an unknown field of staging", inStaging + `{"upstreams": ["b:1"], "weight": 1}}`, provision + `staging: unknown field "weight"`},
		{"an unknown field of staging's balancing", inStaging + `{"upstreams": ["b:1"], "load_balancing": {"retries": 1}}}`, provision + `staging: unknown field "retries"`},
		{"an unknown field of staging's policy", inStaging + `{"upstreams": ["b:1"], "load_balancing": {"selection_policy": {"policy": "first", "x": 1}}}}`, provision + `staging: loading the load balancing policy: loading module 'first': decoding module config: http.reverse_proxy.selection_policies.first: json: unknown field "x"`},
		{"an unknown field of sticky", inStaging + `{"upstreams": ["b:1"]}, "sticky": {"cookie": "c", "ttl": 1}}`, provision + `sticky: unknown field "ttl"`},
		{"an unknown field of the balancing", `{"upstreams": ["a:1"], "load_balancing": {"policy": "first"}}`, provision + `load_balancing: json: unknown field "policy"`},
		{"an unknown field of the policy", `{"upstreams": ["a:1"], "load_balancing": {"selection_policy": {"policy": "first", "x": 1}}}`, provision + `loading the load balancing policy: loading module 'first': decoding module config: http.reverse_proxy.selection_policies.first: json: unknown field "x"`},
		{"an unknown field of the health checks", `{"upstreams": ["a:1"], "health_checks": {"uri": "/"}}`, provision + `health_checks: json: unknown field "uri"`},
		{"an unknown field of the active checks", `{"upstreams": ["a:1"], "health_checks": {"active": {"uri": "/", "every": 1}}}`, provision + `health_checks: json: unknown field "every"`},
		{"an unknown field of marked active checks", `{"upstreams": ["a:1"], "health_checks": {"active": {"port": 1, "every": 1}}}`, provision + `health_checks: json: unknown field "every"`},
		{"an unknown field of completed passive checks", `{"upstreams": ["a:1", "b:1"], "health_checks": {"passive": {"fails": 1}}}`, provision + `health_checks: json: unknown field "fails"`},
		{"an unknown field of the transport", `{"upstreams": ["a:1"], "transport": {"protocol": "http", "timeout": 1}}`, provision + `transport: json: unknown field "timeout"`},
		{"an unknown field of the transport's TLS", `{"upstreams": ["a:1"], "transport": {"protocol": "http", "tls": {"verify": false}}}`, provision + `transport: json: unknown field "verify"`},
		{"an unknown field of the headers", `{"upstreams": ["a:1"], "headers": {"up": {}}}`, provision + `headers: json: unknown field "up"`},
		{"an unknown field of the request headers", `{"upstreams": ["a:1"], "headers": {"request": {"put": {}}}}`, provision + `headers: json: unknown field "put"`},
		{"an unknown field of the rewrite", `{"upstreams": ["a:1"], "rewrite": {"url": "/"}}`, provision + `rewrite: json: unknown field "url"`},
		{"an unknown field of a response handler", `{"upstreams": ["a:1"], "handle_response": [{"status": 1}]}`, provision + `handle_response: json: unknown field "status"`},
		{"an unknown field of a dynamic source", `{"dynamic_upstreams": {"source": "a", "ttl": 1}}`, provision + `loading the source of dynamic upstreams: loading module 'a': decoding module config: http.reverse_proxy.upstreams.a: json: unknown field "ttl"`},

		{"a weight below 0", `{"upstreams": [{"address": "a:1", "weight": -1}]}`, provision + `upstream "a:1": weight -1 is outside 0 to 1000`},
		{"a weight above 1000", `{"upstreams": [{"address": "a:1", "weight": 1001}]}`, provision + `upstream "a:1": weight 1001 is outside 0 to 1000`},
		{"a weight that is no whole number", `{"upstreams": [{"address": "a:1", "weight": 1.5}]}`, provision + `upstream {"address":"a:1","weight":1.5}: weight: a number 1.5 is not valid here; write a whole number`},
		{"weights of 0 alone", `{"upstreams": [{"address": "a:1", "weight": 0}, {"address": "b:1", "weight": 0}]}`, provision + "every upstream of production has weight 0, so none gets requests; give one a weight from 1 to 1000"},
		{"weights beside another policy", `{"upstreams": [{"address": "a:1", "weight": 2}], "load_balancing": {"selection_policy": {"policy": "first"}}}`, provision + "weights belong to the default policy; remove lb_policy, or the weights"},
		{"only backups", `{"upstreams": [{"address": "a:1", "backup": true}]}`, provision + `every upstream of production is a backup; remove backup from those that are to get requests at any time`},
		{"backups and weight 0", `{"upstreams": [{"address": "a:1", "backup": true}, {"address": "b:1", "weight": 0}]}`, provision + `every upstream of production but its backups has weight 0, so none gets requests; give one a weight from 1 to 1000`},
		{"slow_start too long", `{"upstreams": ["a:1"], "slow_start": "25h"}`, provision + `slow_start: 25h0m0s is outside 1s to 24h0m0s; write how long an upstream that comes back warms up, such as 30s`},
		{"slow_start in seconds without a unit", `{"upstreams": ["a:1"], "slow_start": 30}`, provision + `slow_start: 30ns is outside 1s to 24h0m0s; write how long an upstream that comes back warms up, such as 30s`},
		{"retry_budget with another transport", `{"upstreams": ["a:1"], "retry_budget": {"percent": 1}, "transport": {"protocol": "fastcgi"}}`, provision + `retry_budget: the route's transport is not http, and makes each retry that it is told to; remove retry_budget, or the transport`},
		{"slow_start beside a policy of staging", `{"upstreams": ["a:1"], "slow_start": "1s", "traffic_split": 1, "staging": {"upstreams": ["b:1"], "load_balancing": {"selection_policy": {"policy": "first"}}}}`, provision + `staging: slow_start belongs to the default policy; remove lb_policy, or slow_start`},
		{"eject without a ratio", `{"upstreams": ["a:1"], "eject": {}}`, provision + `eject: a ratio of 0 is not above 0 and up to 1; write how much of the requests must fail, such as 0.5 or 50%`},
		{"eject with another transport", `{"upstreams": ["a:1"], "eject": {"ratio": 1}, "transport": {"protocol": "fastcgi"}}`, provision + `eject: the route's transport is not http, so that nobody knows whose fault a failure is; remove eject, or the transport`},
		{"retry_budget off and on", `{"upstreams": ["a:1"], "retry_budget": {"off": true, "percent": 10}}`, provision + `retry_budget: it is off, and has limits; remove one of them`},
		{"max_requests below 0", `{"upstreams": [{"address": "a:1", "max_requests": -1}]}`, provision + `upstream "a:1": max_requests -1 is negative; write how many requests it may have in flight, or 0 for no limit`},
		{"skip_tls_verify that is a string", `{"upstreams": ["a:1"], "skip_tls_verify": "on"}`, provision + "skip_tls_verify: a string is not valid here; write true or false"},
		{"fast_path that is a string", `{"upstreams": ["a:1"], "fast_path": "off"}`, provision + "fast_path: a string is not valid here; write true or false"},
		{"balancing that is no object", `{"upstreams": ["a:1"], "load_balancing": "first"}`, provision + `load_balancing: "first" is not an object; write {…}`},

		{"TLS settings on an HTTP upstream", `{"upstreams": [{"address": "a:1", "tls": {"server_name": "n"}}]}`, provision + `upstream "a:1": it has TLS settings but speaks HTTP, since it has no scheme and no well-known HTTPS port; write https://a:1`},
		{"TLS settings on a written http://", `{"upstreams": [{"address": "http://a:8443", "tls": {}}]}`, provision + `upstream "http://a:8443": it has TLS settings but speaks HTTP, since the address says so; write https://a:8443`},
		{"two meanings of one dial address", `{"upstreams": ["http://a:1", "https://a:1"]}`, provision + `upstream "https://a:1": it dials a:1, like upstream "http://a:1" of production, but in a different way (HTTPS, certificate checked; HTTP)` + otherWay},
		{"two meanings, one of them implied", inStaging + `{"upstreams": ["http://a:8443"]}, "upstreams": ["a:8443"]}`, provision + `staging: upstream "http://a:8443": it dials a:8443, like upstream "a:8443" of production, but in a different way (HTTP; HTTPS, certificate not checked)` + otherWay},
		{"two meanings by skip_tls_verify", inStaging + `{"upstreams": ["https://a"], "skip_tls_verify": true}, "upstreams": ["https://a"]}`, provision + `staging: upstream "https://a": it dials a:443, like upstream "https://a" of production, but in a different way (HTTPS, certificate not checked; HTTPS, certificate checked)` + otherWay},
		{"two meanings by TLS settings", `{"upstreams": ["https://a", {"address": "https://a", "tls": {"server_name": "n"}}]}`, provision + `upstream "https://a": it dials a:443, like upstream "https://a" of production, but in a different way (HTTPS, certificate checked, with its own TLS settings; HTTPS, certificate checked)` + otherWay},
		{"two meanings in a range", `{"upstreams": ["a:1-3", "h2c://a:2"]}`, provision + `upstream "h2c://a:2": it dials a:2, like upstream "a:2" of production, but in a different way (HTTP/2 cleartext; HTTP)` + otherWay},
		{"https:// beside a transport without TLS", `{"upstreams": ["https://a:1"], "transport": {"protocol": "fastcgi"}}`, provision + `upstream "https://a:1": the route's transport is not http and has no TLS; write the address without https://`},
		{"https:// in staging beside a transport without TLS", inStaging + `{"upstreams": ["HTTPS://b:1"]}, "transport": {"protocol": "fastcgi"}}`, provision + `staging: upstream "https://b:1": the route's transport is not http and has no TLS; write the address without https://`},
		{"HTTP/3 to a cleartext upstream", `{"upstreams": ["a:1"], "transport": {"protocol": "http", "versions": ["3"]}}`, provision + "upstream \"a:1\": the transport says `versions 3`, and HTTP/3 needs TLS; write https://a:1"},
		{"a transport without a protocol", `{"upstreams": ["a:1"], "transport": {"dial_timeout": 1}}`, provision + `transport: it has no protocol; write {"protocol": "http", …}`},
		{"the inner source as a route's own", `{"dynamic_upstreams": {"source": "proxyos"}}`, provision + "loading the source of dynamic upstreams: " + noModule + "upstreams.proxyos"},
		{"a field twice", `{"upstreams": ["a:1"], "verbose_logs": true, "Verbose_Logs": true}`, provision + `field "verbose_logs" is given twice; keep one of them`},
		{"a transport that does not exist", `{"upstreams": ["a:1"], "transport": {"protocol": "quic"}}`, provision + "loading transport: loading module 'quic': unknown module: http.reverse_proxy.transport.quic"},
		{"the inner transport as a route's own", `{"upstreams": ["a:1"], "transport": {"protocol": "proxyos"}}`, provision + "loading transport: " + noModule + "transport.proxyos"},

		{"a name that is a path", `{"name": "a/b", "upstreams": ["a:1"]}`, provision + `name "a/b` + oneName},
		{"a name that begins with a dot", `{"name": ".a", "upstreams": ["a:1"]}`, provision + `name ".a` + oneName},
		{"a name that is a placeholder", `{"name": "{env.A}", "upstreams": ["a:1"]}`, provision + `name "{env.A}` + oneName},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkRefusal(t, validate(t, "{}", named(c.handler)),
				"loading http app module: provision http: server test: setting up route handlers: route 0: loading handler modules: position 0: loading module 'proxyos': "+c.want)
			checkExplained(t, strings.TrimPrefix(c.want, provision), named(c.handler))
		})
	}
	t.Run("two routes of one name", func(t *testing.T) {
		checkRefusal(t, validate(t, "{}", `{"handler": "proxyos", "name": "x", "upstreams": ["a:1"]}`, `{"handler": "proxyos", "name": "x", "upstreams": ["b:1"]}`),
			"loading http app module: provision http: server test: setting up route handlers: route 0: loading handler modules: position 1: loading module 'proxyos': "+
				provision+`route x: name "x": another proxyos route already has it, the one of server test, with the upstream a:1; give each route its own name, or both the same configuration`)
		checkExplained(t, `name "x": another proxyos route already has it, the one of server test, with the upstream a:1; give each route its own name, or both the same configuration`,
			`{"handler": "proxyos", "@id": "a", "name": "x", "upstreams": ["a:1"]}`, `{"handler": "proxyos", "name": "x", "upstreams": ["b:1"]}`)
	})
}

func TestWrongSettingsOfTheAppAreRejected(t *testing.T) {
	for settings, want := range map[string]string{
		`{"ports": [1]}`:                 `decoding module config: proxyos: unknown field "ports"`,
		`{"https_ports": 1}`:             "decoding module config: proxyos: https_ports: a number is not valid here; write a list",
		`{"https_ports": ["8443"]}`:      "decoding module config: proxyos: https_ports: a string is not valid here; write a whole number",
		`{"fast_path": "off"}`:           "decoding module config: proxyos: fast_path: a string is not valid here; write true or false",
		`[]`:                             "decoding module config: proxyos: an array is not valid here; write an object",
		`{"https_ports": [1, 0]}`:        "proxyos: invalid configuration: https_ports: port 0 is not a number from 1 to 65535",
		`{"https_ports": [65536]}`:       "proxyos: invalid configuration: https_ports: port 65536 is not a number from 1 to 65535",
		`{"upstream_metrics": "on"}`:     "decoding module config: proxyos: upstream_metrics: a string is not valid here; write true or false",
		`{"sync_interval": 1}`:           "proxyos: invalid configuration: sync_interval: 1ns is too short; write 100ms or more",
		`{"sync_interval": "-5s"}`:       "proxyos: invalid configuration: sync_interval: -5s is too short; write 100ms or more",
		`{"sync_interval": "sometimes"}`: `decoding module config: proxyos: sync_interval: time: invalid duration "sometimes"`,
	} {
		t.Run(settings, func(t *testing.T) {
			checkRefusal(t, validate(t, settings), "loading proxyos app module: "+want)
		})
	}
}

// checkExplained checks that explain has the same first error for a config as loading has,
// unless it is one of a module that explain does not load.
func checkExplained(t *testing.T, want string, handlers ...string) {
	t.Helper()
	if strings.Contains(want, "loading module '") {
		want = ""
	}
	config := `{"apps": {"http": {"servers": {"test": {"routes": [{"@id": "r", "handle": [` + strings.Join(handlers, ",") + `]}]}}}}}`
	routes, err := explainRoutes([]byte(config))
	if err != nil || len(routes) != len(handlers) {
		t.Fatalf("%d routes are explained: %v", len(routes), err)
	}
	if got := routes[len(routes)-1].Error; got != want {
		t.Errorf("explained as\n%s\nwant\n%s", got, want)
	}
}

func checkRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	if err.Error() != want {
		t.Errorf("\ngot  %s\nwant %s", err, want)
	}
}

func FuzzHandlerJSON(f *testing.F) {
	for _, pair := range pairs {
		f.Add([]byte(pair.handler))
	}
	for _, text := range []string{
		`null`, `[]`, `{}`, `{"upstreams": null}`, `{"upstreams": [null, "", {}, {"dial": "a:1"}, {"address": "a:1", "dial": "b:1"}]}`,
		`{"upstreams": ["a:1-9"], "staging": {"upstreams": ["b"], "dynamic_upstreams": {"source": "a"}}, "traffic_split": 12.5}`,
		`{"upstreams": ["a"], "staging_when": {"path": ["/a"]}, "production_when": [{}, null], "sticky": {"key": "{a}"}}`,
		`{"upstreams": ["a"], "load_balancing": {"retries": 1}, "transport": null, "verbose_logs": true, "Upstreams": ["b"]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		h := new(Handler)
		if json.Unmarshal(text, h) != nil {
			return
		}
		for _, err := range []error{h.checkSplit(), h.checkStaging()} {
			if err != nil && err.Error() == "" {
				t.Errorf("%q is rejected without a reason", text)
			}
		}
		_, _ = resolve(h.Upstreams, h.SkipTLSVerify, routeOptions{}) // must not panic
		encoded, err := json.Marshal(h)
		if err != nil {
			t.Fatalf("%q is read, but cannot be written: %v", text, err)
		}
		back := new(Handler)
		if err := json.Unmarshal(encoded, back); err != nil {
			t.Fatalf("%q is read, but not what it is written as, %s: %v", text, encoded, err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != string(encoded) {
			t.Errorf("%q is written as\n%s\nand then as\n%s (%v)", text, encoded, again, err)
		}
	})
}
