package proxyos

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// runCommand runs a command, and returns its output and error.
func runCommand(cmd *cobra.Command, args ...string) (string, error) {
	var output bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&output)
	cmd.SetErr(&output)
	cmd.SilenceUsage = true
	err := cmd.Execute()
	return output.String(), err
}

func checkWidth(t *testing.T, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if width := len([]rune(strings.TrimRight(line, "\n"))); width > lineWidth {
			t.Errorf("%d columns: %s", width, line)
		}
	}
}

func TestExplainJSON(t *testing.T) {
	yes, no := true, false
	output, err := runCommand(explainCommand(), "--json", "pve:8006", "https://app", "http://pbs:8007", "h2c://grpc:9000", "h:8442-8443", "wss://x:1")
	if err == nil {
		t.Error("no error for wss://x:1")
	}
	var got []explanation
	if err := json.Unmarshal([]byte(output), &got); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	want := []explanation{
		{Address: "pve:8006", Scheme: "https", Dial: "pve:8006", TLSVerify: &no, Reason: "HTTPS, and the certificate is not checked, since its port is a well-known HTTPS port."},
		{Address: "https://app", Scheme: "https", Dial: "app:443", TLSVerify: &no, Reason: "HTTPS"},
		{Address: "http://pbs:8007", Scheme: "http", Dial: "pbs:8007", Reason: "HTTP, since the address says so."},
		{Address: "h2c://grpc:9000", Scheme: "h2c", Dial: "grpc:9000", Reason: "HTTP/2 cleartext, since the address says so."},
		{Address: "h:8442", Scheme: "http", Dial: "h:8442", Reason: "HTTP, since it has no scheme and no well-known HTTPS port."},
		{Address: "h:8443", Scheme: "https", Dial: "h:8443", TLSVerify: &no, Reason: "HTTPS, and the certificate is not checked, since its port is a well-known HTTPS port."},
		{Address: "wss://x:1", Error: `upstream "wss://x:1": use https://x:1: WebSockets do not need a scheme of their own`},
	}
	want[1].TLSVerify, want[1].Reason = &yes, "HTTPS, since the address says so; the certificate is checked, since certificates are checked by default."
	for i := range got {
		if warned := len(got[i].Warnings) > 0; warned != (got[i].TLSVerify != nil && !*got[i].TLSVerify) {
			t.Errorf("%s is warned of: %q", got[i].Address, got[i].Warnings)
		}
		got[i].Warnings = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", output)
	}
	if strings.Contains(output, "tls_verify\": null") || strings.Count(output, `"tls_verify"`) != 3 {
		t.Errorf("tls_verify is for https only: %s", output)
	}
}

func TestExplainExitsWithErrorOnlyForErrors(t *testing.T) {
	for _, c := range []struct {
		args []string
		ok   bool
	}{
		{[]string{"pve:8006"}, true},
		{[]string{"pve:8006", "a b"}, false},
		{nil, false},
		{[]string{"--config", "none.Caddyfile"}, false},
		{[]string{"--config", "none.Caddyfile", "pve:8006"}, false},
	} {
		output, err := runCommand(explainCommand(), c.args...)
		if (err == nil) != c.ok {
			t.Errorf("%q: error %v", c.args, err)
		}
		checkWidth(t, output)
	}
}

const suspiciousCaddyfile = `{
	proxyos {
		https_ports + 8444
	}
}
app.example.com {
	proxyos pve:8006 http://pbs:8007 {
		name lab
		staging prom:9090 {
			skip_tls_verify off
		}
		traffic_split 12.5
		upstream https://grafana:3000 {
			weight 0
		}
		upstream x:8444 {
			tls_pin ` + somePin + `
		}
	}
}
b.example.com {
	handle /api/* {
		proxyos one:3000 {
			lb_retries 3
		}
	}
	handle {
		proxyos a.lan:8006 http://a.lan:8006
	}
}
`

func TestExplainConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(suspiciousCaddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := runCommand(explainCommand(), "--config", file)
	if err == nil {
		t.Error("no error, although a.lan:8006 has two meanings")
	}
	checkWidth(t, output)
	t.Log("\n" + output)
	flat := strings.Join(strings.Fields(output), " ")
	for _, want := range []string{
		"route lab (server srv0, app.example.com), 12.5 % to staging",
		"production pve:8006 https (port) not checked (port) 1",
		"production http://pbs:8007 http (written) - 1",
		"production https://grafana:3000 https (written) checked (default) 0",
		"production x:8444 https (port) pinned 1",
		"staging prom:9090 https (port) checked (group) 1",
		"warning: pve:8006: the certificate is not checked, only because of the port",
		"warning: lb_retries 3 with a single upstream",
		"production x:8444 https (port) pinned 1 staging prom:9090 https (port) checked (group) 1 way: plain requests take the short one",
		"route b.example.com (without a name, server srv0, b.example.com)",
		`error: upstream "http://a.lan:8006": it dials a.lan:8006, like upstream "a.lan:8006" of production, but in a different way`,
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("missing: %s", want)
		}
	}

	output, _ = runCommand(explainCommand(), "--config", file, "--json")
	var routes []routeExplanation
	if err := json.Unmarshal([]byte(output), &routes); err != nil {
		t.Fatal(err)
	}
	if len(routes) != 3 || routes[0].Way != wayShort || routes[2].Way != "" || routes[0].Name != "lab" || len(routes[0].Upstreams) != 5 || routes[0].Upstreams[4].Group != staging ||
		routes[0].Split != 12.5 || len(routes[0].Warnings) != 1 || routes[2].Error == "" {
		t.Errorf("JSON: %s", output)
	}
}

func TestExplainSaysWhatKeepsAnUpstreamOffTheFastLane(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "") // which the tests of log lines set
	for _, test := range []struct{ directives, lane string }{
		{"proxyos a.lan https://b.lan", ""},
		{"proxyos a.lan {\ntransport http {\nversions 1.1 2\n}\n}", ""},
		{"proxyos https://a.lan {\ntransport http {\nmax_conns_per_host 5\nversions 1.1\n}\n}", ""},
		{"proxyos a.lan h2c://b.lan", "h2c://b.lan: HTTP/2 cleartext is spoken to it"},
		{"proxyos https://a.lan {\ntransport http {\nversions 2\n}\n}", "https://a.lan: `versions 2` asks for another version of HTTP"},
		{"proxyos https://a.lan {\ntransport http {\nversions 1.1 3\n}\n}", "https://a.lan: `versions 1.1 3` asks for another version of HTTP"},
		{"proxyos a.lan {\ntransport http {\nforward_proxy_url http://p.lan\n}\n}", "a.lan: a proxy is asked for it"},
		{"proxyos a.lan https://b.lan {\ntransport http {\nmax_conns_per_host 5\n}\n}", "https://b.lan: `max_conns_per_host` counts HTTP/2, which it may choose; with `versions 1.1` it may not"},
		{"proxyos https://a.lan {\ntransport http {\ntls_renegotiation once\n}\n}", "https://a.lan: `tls_renegotiation`"},
		{"proxyos h2c://a.lan h2c://b.lan h2c://c.lan h2c://d.lan h2c://e.lan", "h2c://a.lan, h2c://b.lan, h2c://c.lan, 2 more: HTTP/2 cleartext is spoken to it"},
		{"proxyos a.lan {\nfast_path off\n}", ""}, // the way of all requests says it
		{"proxyos a.lan h2c://b.lan {\nfast_path off\n}", "h2c://b.lan: HTTP/2 cleartext is spoken to it"},
		{"proxyos a.lan {\ntransport fastcgi\n}", "a.lan: the route's transport is not `http`"},
	} {
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte("http://app.example.com {\n"+test.directives+"\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := runCommand(explainCommand(), "--config", file)
		if err != nil {
			t.Errorf("%s: %v\n%s", test.directives, err, output)
			continue
		}
		checkWidth(t, output)
		_, lane, _ := strings.Cut(strings.Join(strings.Fields(output), " "), "off the fast lane: ")
		if lane, _, _ = strings.Cut(lane, " warning: "); lane != test.lane {
			t.Errorf("%s: %q, want %q", test.directives, lane, test.lane)
		}
	}
}

// The quickstart, and a config without any route, are explained without an error.
func TestExplainConfigOfOtherFiles(t *testing.T) {
	if output, err := runCommand(explainCommand(), "--config", "examples/quickstart.Caddyfile"); err != nil || !strings.Contains(output, "127.0.0.1:8443") {
		t.Errorf("%v\n%s", err, output)
	}
	file := filepath.Join(t.TempDir(), "caddy.json")
	if err := os.WriteFile(file, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := runCommand(explainCommand(), "--config", file); err != nil || !strings.Contains(output, "has no proxyos route") {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestExplainRejectsTheOptionsThatLoadingRejects(t *testing.T) {
	for option, want := range map[string]string{
		`"name": "a/b"`:             "write 1 to 64 letters",
		`"traffic_split": 5`:        "there is no staging group",
		`"sticky": {"cookie": "c"}`: "there is no staging group",
		`"staging_fallback": false`: "there is no staging group",
	} {
		handler := `{"handler": "proxyos", "upstreams": ["a:1"], ` + option + `}`
		routes, err := explainRoutes([]byte(`{"apps": {"http": {"servers": {"s": {"routes": [{"handle": [` + handler + `]}]}}}}}`))
		if err != nil || len(routes) != 1 || !strings.Contains(routes[0].Error, want) {
			t.Errorf("%s: %+v, %v", option, routes, err)
		}
	}
}

func TestExplainRejectsTheGroupsThatLoadingRejects(t *testing.T) {
	for config, want := range map[string]string{
		`{"upstreams": [{"address": "a:1", "weight": 2}], "load_balancing": {"selection_policy": {"policy": "first"}}}`:                                                        "weights belong to the default policy",
		`{"upstreams": ["a:1"], "traffic_split": 5, "staging": {"upstreams": [{"address": "b:1", "weight": 2}], "load_balancing": {"selection_policy": {"policy": "first"}}}}`: "weights belong to the default policy",
		`{"upstreams": ["https://a"], "transport": {"protocol": "fastcgi"}}`:                                                                                                   "is not http and has no TLS",
	} {
		h := new(Handler)
		if err := json.Unmarshal([]byte(config), h); err != nil {
			t.Fatal(err)
		}
		if _, err := newPlan(h, routeDefaults{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func TestWrapped(t *testing.T) {
	text := strings.Repeat("word ", 40) + strings.Repeat("x", 100)
	lines := strings.Split(wrapped("  first: ", text), "\n")
	for i, line := range lines[:len(lines)-1] {
		if len(line) > lineWidth || i > 0 && !strings.HasPrefix(line, "         word") {
			t.Errorf("line %d: %q", i, line)
		}
	}
	if strings.Join(strings.Fields(strings.Join(lines, " ")), " ") != "first: "+text {
		t.Errorf("words are lost: %q", lines)
	}
}

func TestHelpFitsIntoATerminal(t *testing.T) {
	parent := &cobra.Command{Use: "proxyos"}
	parent.AddCommand(explainCommand(), probeCommand())
	for _, args := range [][]string{{"--help"}, {"explain", "--help"}, {"probe", "--help"}} {
		output, err := runCommand(parent, args...)
		if err != nil {
			t.Error(err)
		}
		checkWidth(t, output)
	}
}

// An upstream whose row would be too wide for a terminal gets two lines.
func TestExplainFitsAnyAddressIntoATerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	config := "a.example {\n\tproxyos https://192.168.178.100:31443 app:3000 {\n\t\tskip_tls_verify\n\t}\n}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := runCommand(explainCommand(), "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	checkWidth(t, output)
	for _, want := range []string{
		"\n  production  https://192.168.178.100:31443\n              https (written), weight 1, certificate not checked (route)\n",
		"\n  production  app:3000\n              http (default), weight 1\n",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("missing %q in\n%s", want, output)
		}
	}
}
