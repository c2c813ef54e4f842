package same

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// sameName is the name in the certificate of the servers.
const sameName = "same.test"

// samePlaceholders are written to the access log, and into answers to errors.
var samePlaceholders = []string{
	"http.reverse_proxy.upstream.address", "http.reverse_proxy.upstream.hostport", "http.reverse_proxy.upstream.host",
	"http.reverse_proxy.upstream.port", "http.reverse_proxy.upstream.requests", "http.reverse_proxy.upstream.max_requests",
	"http.reverse_proxy.upstream.fails", "http.reverse_proxy.upstream.latency", "http.reverse_proxy.upstream.latency_ms",
	"http.reverse_proxy.duration", "http.reverse_proxy.duration_ms", "http.reverse_proxy.retries",
	"http.reverse_proxy.upstream.duration", "http.reverse_proxy.upstream.duration_ms",
	"http.reverse_proxy.status_code", "http.reverse_proxy.status_text",
	"http.reverse_proxy.header.Content-Type", "http.reverse_proxy.header.Set-Cookie", "http.reverse_proxy.header.X-Nobody-Has-This",
	"http.proxyos.group",
}

// server is the JSON of one server for a way: a listener, or two of them with TLS.
func (w *sameWay) server(t testing.TB, c *sameConfig, secure bool) map[string]any {
	t.Helper()
	var handlers []any
	for _, name := range samePlaceholders {
		handlers = append(handlers, map[string]any{"handler": "log_append", "key": name, "value": "{" + name + "}"})
	}
	respond := map[string]any{"handler": "static_response", "status_code": "{http.error.status_code}", "body": "error {http.error.status_code} of {http.reverse_proxy.upstream.hostport} after {http.reverse_proxy.retries}"}
	server := map[string]any{
		"listen":          []string{w.addr},
		"protocols":       []string{"h1"},
		"automatic_https": map[string]any{"disable": true},
		"routes":          []any{map[string]any{"handle": handlers}, map[string]any{"handle": []any{w.handler(t, c)}}},
		"errors":          map[string]any{"routes": []any{map[string]any{"handle": []any{respond}}}},
		"logs":            map[string]any{"default_logger_name": w.label, "should_log_credentials": true},
	}
	if secure {
		server["listen"], server["protocols"] = []string{w.tlsAddr}, []string{"h1", "h2", "h3"}
		server["tls_connection_policies"] = []any{map[string]any{}}
	}
	if c.trusting {
		server["trusted_proxies"] = map[string]any{"source": "static", "ranges": []string{"127.0.0.0/8"}}
	}
	return server
}

// handler is the JSON of the way's handler.
func (w *sameWay) handler(t testing.TB, c *sameConfig) map[string]any {
	t.Helper()
	name := "proxyos"
	if w.kind == "stock" {
		name = "reverse_proxy"
	}
	var config any
	if err := json.Unmarshal([]byte(adapt(t, "http://127.0.0.1:1 {\n"+c.handler(name, w.kind, w.backends)+"}\n")), &config); err != nil {
		t.Fatal(err)
	}
	var handler map[string]any
	lab.EachObject(config, func(object map[string]any) {
		if object["handler"] == name && handler == nil {
			handler = object
		}
	})
	if handler == nil {
		t.Fatalf("no handler in %s", c)
	}
	switch w.kind {
	case "slow":
		handler["name"], handler["fast_path"] = w.label, false
	case "fast":
		handler["name"] = w.label
	}
	return handler
}

// sameWholeConfig is the config of a Caddy for all the runs.
func sameWholeConfig(t testing.TB, runs []*sameRun, certFile, keyFile string) string {
	t.Helper()
	servers := make(map[string]any)
	for _, run := range runs {
		for _, w := range run.ways {
			servers[w.label] = w.server(t, run.config, false)
			servers[w.label+"-tls"] = w.server(t, run.config, true)
		}
	}
	config := map[string]any{
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "same"}, "level": "INFO"}}},
		"apps": map[string]any{
			"http": map[string]any{"servers": servers, "metrics": map[string]any{}, "grace_period": "1s"},
			"tls":  map[string]any{"certificates": map[string]any{"load_files": []any{map[string]any{"certificate": certFile, "key": keyFile}}}},
		},
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// loadSame loads a Caddy for all the runs.
func loadSame(t testing.TB, runs []*sameRun) *server {
	t.Helper()
	certFile, keyFile := proxytest.WriteCertificate(t, proxytest.SelfSigned(t, sameName))
	s := newServer(t)
	if err := s.LoadJSON(sameWholeConfig(t, runs, certFile, keyFile)); err != nil {
		var configs string
		for _, run := range runs {
			configs += fmt.Sprintln(run.config)
		}
		t.Fatalf("loading: %v\n%s", err, configs)
	}
	return s
}
