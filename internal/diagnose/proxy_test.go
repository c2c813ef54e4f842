package diagnose

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

func init() { // net/http reads them once
	for name, value := range map[string]string{"HTTPS_PROXY": "http://me:secret@proxy.lan:3128", "HTTP_PROXY": "", "http_proxy": "", "NO_PROXY": "direct.lan"} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
}

func TestAFailedProxyIsNotTakenForTheUpstream(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	const check = "; check that proxy, or add app.lan to NO_PROXY in Caddy's environment"
	for _, c := range []struct {
		upstream string
		err      error
		hint     string
	}{
		{"https://app.lan", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dialError{refused}},
			"it is reached through the proxy http://proxy.lan:3128 (HTTPS_PROXY), and nothing listens there" + check},
		{"https://app.lan", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dialError{errors.New("dial tcp: lookup proxy.lan: no such host")}},
			"it is reached through the proxy http://proxy.lan:3128 (HTTPS_PROXY), and the name of the proxy does not resolve here" + check},
		{"https://app.lan", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dialError{errors.New("dial tcp 10.0.0.1:3128: i/o timeout")}},
			"it is reached through the proxy http://proxy.lan:3128 (HTTPS_PROXY), and nothing answers there" + check},
		{"https://app.lan", errors.New("Forbidden"),
			`it is reached through the proxy http://proxy.lan:3128 (HTTPS_PROXY), and the proxy fails with "Forbidden"` + check},
		{"https://app.lan", errors.New("Proxy Authentication Required"),
			`it is reached through the proxy http://proxy.lan:3128 (HTTPS_PROXY), and the proxy fails with "Proxy Authentication Required"` + check},
		{"https://app.lan", &net.OpError{Op: "socks connect", Net: "tcp", Err: errors.New("unknown error host unreachable")},
			`it is reached through the proxy http://proxy.lan:3128 (HTTPS_PROXY), and the proxy fails with "unknown error host unreachable"` + check},
		{"http://app.lan", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dialError{refused}}, // of the route's transport
			"it is reached through a proxy, and nothing listens there; check `network_proxy` of the route's `transport http`"},
		{"https://direct.lan", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dialError{refused}},
			"it is reached through a proxy, and nothing listens there; check `network_proxy` of the route's `transport http`"},
		{"https://app.lan", &ProxyError{Variable: "HTTPS_PROXY", Err: errors.New(`invalid proxy address "::"`)},
			"HTTPS_PROXY is not the address of a proxy; correct it in Caddy's environment; write it like http://proxy.lan:3128"},
	} {
		a, err := address.Parse(c.upstream)
		if err != nil {
			t.Fatal(err)
		}
		if got := Of(c.err); got != ProxyFailed {
			t.Errorf("%v: %q", c.err, got)
		}
		got := ProxyFailed.Hint(Upstream{Address: a, Scheme: a.Scheme}, c.err)
		if got != c.hint || strings.Contains(got, "secret") {
			t.Errorf("%s, %v: %s\nwant %s", c.upstream, c.err, got, c.hint)
		}
	}
}

func TestEmptyPlaceholders(t *testing.T) {
	t.Setenv("LAB_EMPTY", "")
	t.Setenv("LAB_SET", "app")
	file := t.TempDir() + "/host"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for written, want := range map[string]string{
		"{env.LAB_UNSET}:80":             "LAB_UNSET is not set, so {env.LAB_UNSET}:80 means localhost:80; set it in Caddy's environment",
		"{env.LAB_EMPTY}:80":             "LAB_EMPTY is empty, so {env.LAB_EMPTY}:80 means localhost:80; set it in Caddy's environment",
		"{env.LAB_UNSET}":                "LAB_UNSET is not set; set it in Caddy's environment",
		"{env.LAB_UNSET}.lan:80":         "LAB_UNSET is not set; set it in Caddy's environment",
		"app:{env.LAB_UNSET}":            "LAB_UNSET is not set; set it in Caddy's environment",
		"{env.LAB_SET}:{env.LAB_UNSET}":  "LAB_UNSET is not set; set it in Caddy's environment",
		"{file." + file + "}:80":         "the file " + file + " is empty or cannot be read, so {file." + file + "}:80 means localhost:80; give it a value, or write the address instead",
		"{env.LAB_SET}:80":               "",
		"{http.request.host}:80":         "", // known only with a request
		"app:80":                         "",
		"unix//run/{env.LAB_UNSET}.sock": "LAB_UNSET is not set; set it in Caddy's environment",
	} {
		a, err := address.Parse(written)
		if err != nil {
			t.Fatal(err)
		}
		found := FindEmptyPlaceholder(a)
		if (found != nil) != (want != "") {
			t.Errorf("%s: %v", written, found)
			continue
		}
		if found != nil && (Of(found) != EmptyPlaceholder || EmptyPlaceholder.Hint(Upstream{Address: a}, found) != want) {
			t.Errorf("%s: %q %s\nwant %s", written, Of(found), EmptyPlaceholder.Hint(Upstream{Address: a}, found), want)
		}
	}
}
