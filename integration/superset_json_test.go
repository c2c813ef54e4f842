package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	proxyos "github.com/proxyos/caddy-proxyos"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestUnknownFieldsAreRefusedWhereverTheyStand(t *testing.T) {
	handler := `{
		"handler": "proxyos", "name": "app", "traffic_split": 10, "skip_tls_verify": true,
		"upstreams": ["a:80", {"address": "https://b:443", "weight": 2, "max_requests": 3, "skip_tls_verify": false, "tls": {"server_name": "b", "ca": {"provider": "inline", "trusted_ca_certs": []}}}, {"dial": "c:80"}],
		"staging": {"upstreams": ["d:80"], "load_balancing": {"selection_policy": {"policy": "first"}}, "dynamic_upstreams": {"source": "harness", "addresses": ["e:80"]}},
		"sticky": {"cookie": "group"},
		"staging_when": [{"path": ["/beta/*"]}], "production_when": {"header": {"X-Production": ["1"]}},
		"transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 3}, "resolver": {"addresses": ["127.0.0.1:53"]}},
		"load_balancing": {"retries": 1, "retry_match": [{"method": ["GET"]}]},
		"health_checks": {"active": {"uri": "/up", "interval": "1h"}, "passive": {"max_fails": 2}},
		"headers": {"request": {"set": {"A": ["b"]}}},
		"rewrite": {"method": "GET"},
		"dynamic_upstreams": {"source": "harness", "addresses": ["f:80"]},
		"handle_response": [{"match": {"status_code": [5]}, "routes": [{"handle": [{"handler": "static_response", "status_code": "404"}]}]}]
	}`
	s := newServer(t)
	if err := s.Validate(s.Routes(strings.Replace(handler, `, "ca": {"provider": "inline", "trusted_ca_certs": []}`, "", 1))); err != nil {
		t.Fatalf("it is refused without an unknown field: %v", err)
	}
	var value any
	if err := json.Unmarshal([]byte(handler), &value); err != nil {
		t.Fatal(err)
	}
	free := []string{"set", "header"} // maps, whose names are the operator's
	places := 0
	var place func(path string, inner any)
	place = func(path string, inner any) {
		switch inner := inner.(type) {
		case map[string]any:
			if !slices.Contains(free, path[strings.LastIndexByte(path, '.')+1:]) {
				places++
				inner["nonsense"] = true
				encoded, err := json.Marshal(value)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Validate(s.Routes(string(encoded))); err == nil || !strings.Contains(err.Error(), "nonsense") {
					t.Errorf("an unknown field in %s: %v", path, err)
				}
				delete(inner, "nonsense")
			}
			for name, field := range inner {
				place(path+"."+name, field)
			}
		case []any:
			for i, element := range inner {
				place(fmt.Sprint(path, "[", i, "]"), element)
			}
		}
	}
	place("handler", value)
	if places < 25 {
		t.Errorf("only %d places tried", places)
	}
}

// everything is one use of each subdirective that reverse_proxy has.
var everything = map[string]string{
	"to": "to 127.0.0.1:3001", "dynamic": "dynamic harness 127.0.0.1:3002",
	"lb_policy": "lb_policy random_choose 2", "lb_retries": "lb_retries 4", "lb_try_duration": "lb_try_duration 3s",
	"lb_try_interval": "lb_try_interval 20ms", "lb_retry_match": "lb_retry_match {\nmethod GET PUT\n}",
	"health_uri": "health_uri /up", "health_path": "health_path /up", "health_upstream": "health_upstream 127.0.0.1:1", "health_port": "health_port 81",
	"health_headers": "health_headers {\nA b\n}", "health_method": "health_method HEAD", "health_request_body": "health_request_body ping",
	"health_interval": "health_interval 1h", "health_timeout": "health_timeout 2s", "health_status": "health_status 2xx",
	"health_body": "health_body fine", "health_follow_redirects": "health_follow_redirects", "health_passes": "health_passes 2", "health_fails": "health_fails 3",
	"max_fails": "max_fails 3", "fail_duration": "fail_duration 4s", "unhealthy_request_count": "unhealthy_request_count 5",
	"unhealthy_status": "unhealthy_status 500 502", "unhealthy_latency": "unhealthy_latency 6s",
	"flush_interval": "flush_interval 7s", "request_buffers": "request_buffers 8KB", "response_buffers": "response_buffers 9KB",
	"stream_buffer_size": "stream_buffer_size 10KB", "proxy_status_name": "proxy_status_name me.test",
	"stream_timeout": "stream_timeout 11s", "stream_close_delay": "stream_close_delay 12s",
	"trusted_proxies": "trusted_proxies private_ranges", "header_up": "header_up A b", "header_down": "header_down -C",
	"method": "method PUT", "rewrite": "rewrite /x{uri}", "transport": "transport http {\nread_buffer 5KB\ntls_insecure_skip_verify\n}",
	"handle_response": "@ok status 2xx\nhandle_response @ok {\nrespond fine\n}", "replace_status": "replace_status 204",
	"verbose_logs": "verbose_logs",
}

func TestEverySubdirectiveOfReverseProxyMeansTheSame(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(caddyTests(t), "../../modules/caddyhttp/reverseproxy/caddyfile.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, grammar, _ := strings.Cut(string(source), "reverse_proxy [<matcher>]")
	grammar, _, _ = strings.Cut(grammar, "func (h *Handler) UnmarshalCaddyfile")
	names := regexp.MustCompile(`(?m)^//\t {4}([a-z_]+)\b`).FindAllStringSubmatch(grammar, -1)
	if len(names) < 35 {
		t.Fatalf("found only %d subdirectives in reverse_proxy's documentation", len(names))
	}
	for _, name := range names {
		if everything[name[1]] == "" {
			t.Errorf("no test knows reverse_proxy's subdirective %s", name[1])
		}
	}
	s := newServer(t)
	for name, use := range everything {
		block := " 127.0.0.1:3000 {\n" + use + "\n}"
		stock, err := proxytest.AdaptCaddyfile(s.Site("reverse_proxy" + block))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ours, err := proxytest.AdaptCaddyfile(s.Site("proxyos" + block))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := normalized(t, ours), normalized(t, stock); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, indented(got), indented(want))
		}
		for form, config := range map[string]string{
			"Caddyfile":           string(ours),
			"JSON":                strings.ReplaceAll(string(stock), `"handler":"reverse_proxy"`, `"handler":"proxyos"`),
			"JSON, fast_path off": strings.ReplaceAll(string(stock), `"handler":"reverse_proxy"`, `"fast_path":false,"handler":"proxyos"`),
		} {
			if err := s.Validate(config); err != nil {
				t.Errorf("%s, from %s: %v", name, form, err)
			}
		}
	}
}

func TestEveryFieldOfReverseProxyIsTaken(t *testing.T) {
	s := newServer(t)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[reverseproxy.Handler]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" || name == "upstreams" {
			continue
		}
		// of no JSON type that any field has, so that the field's own decoder complains
		handler := fmt.Sprintf(`{"handler": "proxyos", "upstreams": [{"dial": "127.0.0.1:3000"}], %q: [[true]]}`, name)
		if err := s.Validate(s.Routes(handler)); err == nil || strings.Contains(err.Error(), "unknown field") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatReverseProxyRefusesIsRefused(t *testing.T) {
	for _, directives := range []string{
		"%s 127.0.0.1:3000 {\nlb_policy nonsense\n}",
		"%s 127.0.0.1:3000 {\nlb_policy first\nlb_policy random\n}",
		"%s 127.0.0.1:3000 {\nlb_retries many\n}",
		"%s 127.0.0.1:3000 {\nnonsense\n}",
		"%s 127.0.0.1:3000 {\nto\n}",
		"%s 127.0.0.1:3000 {\ntransport nonsense\n}",
		"%s 127.0.0.1:3000 {\ntransport http {\nnonsense\n}\n}",
		"%s 127.0.0.1:3000 {\ntransport http {\nversions 4\n}\n}",
		"%s 127.0.0.1:3000 {\ntransport http {\nproxy_protocol v3\n}\n}",
		"%s 127.0.0.1:3000 {\nhandle_response @none {\nrespond 200\n}\n}",
		"%s 127.0.0.1:3000 {\ndynamic nonsense\n}",
		"%s 127.0.0.1:3000 {\nhealth_interval soon\n}",
		"%s 127.0.0.1:3000 {\nflush_interval soon\n}",
		"%s 127.0.0.1:3000 {\nrequest_buffers huge\n}",
		"%s 127.0.0.1:3000 {\ntrusted_proxies nonsense\n}",
		"%s ws://127.0.0.1:3000",
		"%s wss://127.0.0.1:3000",
		"%s ftp://127.0.0.1:3000",
		"%s http://127.0.0.1:3000/path",
		"%s https://127.0.0.1:80",
		"%s http://127.0.0.1:99999",
		"%s 127.0.0.1:3005-3001",
		"%s https://127.0.0.1:3000 {\ntransport fastcgi\n}",
	} {
		t.Run(directives, func(t *testing.T) {
			s := newServer(t)
			if refusal(s, fmt.Sprintf(directives, "reverse_proxy")) == nil {
				t.Fatal("reverse_proxy does not refuse it")
			}
			if refusal(s, fmt.Sprintf(directives, "proxyos")) == nil {
				t.Error("it is not refused")
			}
		})
	}
}

// The lists of docs/differences.md: what one of the two takes and the other refuses.
func TestTheDifferencesInWhatIsTakenAreTheDocumentedOnes(t *testing.T) {
	for _, directives := range []string{
		"%s http://a:3000 https://b:3000",
		"%s http://a:443",
		"%s http://a:3000 {\ntransport http {\ntls\n}\n}",
		"%s http://a:3000/",
	} {
		takenBy(t, "proxyos", "reverse_proxy", directives)
	}
	for _, directives := range []string{
		"%s",
		"%s a:3000 {\ntransport http\ntransport http\n}",
		"%s http://user:password@a:3000",
		"%s a:",
		"%s a:0",
		"%s *:80",
		"%s a,b:80",
		"%s a:80/path",
		"%s [{env.IP}]:80",
	} {
		takenBy(t, "reverse_proxy", "proxyos", directives)
	}
}

// takenBy wants one directive to load with the directives and the other to be refused.
func takenBy(t *testing.T, taker, refuser, directives string) {
	t.Helper()
	t.Run(taker+": "+directives, func(t *testing.T) {
		s := newServer(t)
		if err := refusal(s, fmt.Sprintf(directives, taker)); err != nil {
			t.Errorf("%s refuses it: %v", taker, err)
		}
		if refusal(s, fmt.Sprintf(directives, refuser)) == nil {
			t.Errorf("%s takes it", refuser)
		}
	})
}

// refusal returns why directives do not load, or nil.
func refusal(s *server, directives string) error {
	config, err := proxytest.AdaptCaddyfile(s.Site(directives))
	if err != nil {
		return err
	}
	return s.Validate(string(config))
}

func TestExamplesLoadFromCaddyfileAndFromTheJSONOfTheirHandlers(t *testing.T) {
	files, err := filepath.Glob("../examples/*Caddyfile")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	s := newServer(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config := adapt(t, string(text))
			if err := s.Validate(config); err != nil {
				t.Errorf("the Caddyfile: %v", err)
			}
			var value any
			if err := json.Unmarshal([]byte(config), &value); err != nil {
				t.Fatal(err)
			}
			lab.EachObject(value, func(object map[string]any) {
				if object["handler"] != "proxyos" {
					return
				}
				fields := maps.Clone(object)
				delete(fields, "handler")
				handler := new(proxyos.Handler)
				if err := json.Unmarshal([]byte(indented(fields)), handler); err != nil {
					t.Fatal(err)
				}
				encoded, err := json.Marshal(handler)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := proxytest.Canonical(t, string(encoded)), proxytest.Canonical(t, indented(fields)); got != want {
					t.Errorf("decoded and encoded, the JSON is\n%s\nwas\n%s", got, want)
				}
			})
		})
	}
}
