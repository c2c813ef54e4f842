package proxyos

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// planOf returns the plan of a handler's JSON.
func planOf(t testing.TB, handler string) *plan {
	t.Helper()
	h := new(Handler)
	if err := json.Unmarshal([]byte(handler), h); err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(h, (*App)(nil).forRoutes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlainRoutesHaveAShortWay(t *testing.T) {
	for _, handler := range []string{
		`{"upstreams": ["a:1"]}`,
		`{"upstreams": ["a:1", "https://b", "h2c://c:1", "unix//run/app.sock", {"address": "d:1", "weight": 3}]}`,
		`{"upstreams": ["a:1"], "traffic_split": 1, "staging": {"upstreams": ["b:1"]}, "sticky": {"cookie": "c"}}`,
		`{"upstreams": ["a:1", "b:1"], "load_balancing": {"retries": 3}, "health_checks": {"active": {"uri": "/"}, "passive": {"fail_duration": "1s", "max_fails": 2}}}`,
		`{"upstreams": ["a:1"], "headers": {"request": {"set": {"Host": ["{http.reverse_proxy.upstream.hostport}"]}}, "response": {"delete": ["Server"], "require": {"status_code": [2]}}}}`,
		`{"upstreams": ["a:1"], "flush_interval": -1, "trusted_proxies": ["10.0.0.0/8"], "stream_timeout": "1s", "stream_close_delay": "1s", "proxy_status_name": "p"}`,
		`{"upstreams": ["a:1", "b:1"], "load_balancing": {"selection_policy": {"policy": "least_latency", "decay": "5s"}}}`,
		`{"upstreams": ["a:1"], "transport": {"protocol": "http", "dial_timeout": "1s", "versions": ["1.1"]}}`,
	} {
		if reasons := planOf(t, handler).keptOff; len(reasons) > 0 {
			t.Errorf("%s is kept off: %q", handler, reasons)
		}
	}
}

func TestWhatKeepsARouteOffTheShortWay(t *testing.T) {
	for option, want := range map[string]string{
		`"fast_path": false`: "the route's `fast_path off`",
		`"upstreams": [{"address": "a:1", "max_requests": 1}]`:                              "`max_requests` of a:1 needs reverse_proxy",
		`"upstreams": ["{env.HOST}:1"]`:                                                     "the address {env.HOST}:1 is known only when there is a request",
		`"dynamic_upstreams": {"source": "a", "name": "x"}`:                                 "`dynamic` upstreams of production need reverse_proxy",
		`"load_balancing": {"selection_policy": {"policy": "first"}}`:                       "`lb_policy` of production needs reverse_proxy",
		`"load_balancing": {"try_duration": "1s"}`:                                          "`lb_try_duration` needs reverse_proxy",
		`"load_balancing": {"retry_match": [{"method": ["PUT"]}]}`:                          "`lb_retry_match` needs reverse_proxy",
		`"health_checks": {"passive": {"unhealthy_status": [5]}}`:                           "`unhealthy_status` needs reverse_proxy",
		`"health_checks": {"passive": {"unhealthy_latency": "1s"}}`:                         "`unhealthy_latency` needs reverse_proxy",
		`"health_checks": {"passive": {"unhealthy_request_count": 1}}`:                      "`unhealthy_request_count` needs reverse_proxy",
		`"circuit_breaker": {"type": "x"}`:                                                  "`circuit_breaker` needs reverse_proxy",
		`"flush_interval": 1`:                                                               "`flush_interval` needs reverse_proxy",
		`"request_buffers": -1`:                                                             "`request_buffers` needs reverse_proxy",
		`"response_buffers": 1`:                                                             "`response_buffers` needs reverse_proxy",
		`"rewrite": {"uri": "/"}`:                                                           "`rewrite` needs reverse_proxy",
		`"handle_response": [{"routes": []}]`:                                               "`handle_response` needs reverse_proxy",
		`"verbose_logs": true`:                                                              "`verbose_logs` needs reverse_proxy",
		`"transport": {"protocol": "fastcgi"}`:                                              "`transport` needs reverse_proxy",
		`"transport": {"protocol": "http", "proxy_protocol": "v2"}`:                         "`proxy_protocol` needs reverse_proxy",
		`"traffic_split": 1, "staging": {"dynamic_upstreams": {"source": "a"}}`:             "`dynamic` upstreams of staging need reverse_proxy",
		`"traffic_split": 1, "staging": {"upstreams": [{"dial": "b:1", "max_requests":1}]}`: "`max_requests` of b:1 needs reverse_proxy",
	} {
		handler := `{"upstreams": ["a:1"], ` + option + `}`
		if strings.Contains(option, `"upstreams"`) && !strings.Contains(option, "staging") {
			handler = `{` + option + `}`
		}
		if reasons := planOf(t, handler).keptOff; !slices.Equal(reasons, []string{want}) {
			t.Errorf("%s: %q, want %q", handler, reasons, want)
		}
	}
}

// The short way was made with these fields in mind. One that a new version of Caddy brings is
// to be looked at: does it keep a route off, or does the short way have to heed it?
func TestShortWayKnowsAllFieldsOfReverseProxy(t *testing.T) {
	for of, known := range map[reflect.Type][]string{
		reflect.TypeFor[reverseproxy.Handler](): {
			"transport", "circuit_breaker", "load_balancing", "health_checks", "upstreams", "dynamic_upstreams", "flush_interval",
			"trusted_proxies", "headers", "request_buffers", "response_buffers", "proxy_status_name", "stream_timeout", "stream_buffer_size",
			"stream_close_delay", "rewrite", "handle_response", "verbose_logs",
		},
		reflect.TypeFor[reverseproxy.LoadBalancing]():       {"selection_policy", "retries", "try_duration", "try_interval", "retry_match"},
		reflect.TypeFor[reverseproxy.HealthChecks]():        {"active", "passive"},
		reflect.TypeFor[reverseproxy.PassiveHealthChecks](): {"fail_duration", "max_fails", "unhealthy_request_count", "unhealthy_status", "unhealthy_latency"},
		reflect.TypeFor[headers.Handler]():                  {"request", "response"},
		reflect.TypeFor[headers.RespHeaderOps]():            {"add", "set", "delete", "replace", "require", "deferred"},
	} {
		for _, field := range jsonFields(of) {
			if !slices.Contains(known, field) {
				t.Errorf("%s has a field %s, of which the short way does not know", of, field)
			}
		}
	}
}

func TestExplainSaysWhatKeepsARouteOff(t *testing.T) {
	const config = `{"apps": {"proxyos": {"fast_path": false}, "http": {"servers": {"s": {"routes": [{"handle": [
		{"handler": "proxyos", "upstreams": ["a:1"], "rewrite": {"uri": "/"}},
		{"handler": "proxyos", "upstreams": ["b:1"], "fast_path": true, "rewrite": {"uri": "/"}, "verbose_logs": true}]}]}}}}}`
	routes, err := explainRoutes([]byte(config))
	if err != nil || len(routes) != 2 {
		t.Fatal(routes, err)
	}
	for i, want := range [][]string{
		{"the global `fast_path off`", "`rewrite` needs reverse_proxy"},
		{"`rewrite` needs reverse_proxy", "`verbose_logs` needs reverse_proxy"},
	} {
		if routes[i].Way != wayReverseProxy || !slices.Equal(routes[i].KeptOff, want) {
			t.Errorf("%s: %q, want %q", routes[i].Way, routes[i].KeptOff, want)
		}
		var out strings.Builder
		routes[i].print(&out)
		if flat := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(flat, "way: all requests go through reverse_proxy: "+strings.Join(want, "; ")) {
			t.Errorf("printed is\n%s", &out)
		}
	}
}
