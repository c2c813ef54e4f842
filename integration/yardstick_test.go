package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// caddyTests is the folder of Caddy's own integration tests, in the version of Caddy that
// this module is built with.
func caddyTests(t testing.TB) string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		t.Fatalf("finding Caddy's source: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "caddytest", "integration")
}

// adaptTest is one of Caddy's tests of the Caddyfile adapter.
type adaptTest struct {
	name, caddyfile string
	isError         bool // the Caddyfile is to be refused
}

// reverseProxyDirective matches the name where it is a directive: not in a placeholder, a
// path or a longer word.
var reverseProxyDirective = regexp.MustCompile(`(?m)^(\s*)reverse_proxy\b`)

// adaptTests returns those of Caddy's adapter tests whose Caddyfiles have the directive
// reverse_proxy.
func adaptTests(t testing.TB) []adaptTest {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(caddyTests(t), "caddyfile_adapt", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []adaptTest
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		caddyfile, expected, _ := strings.Cut(string(text), "----------")
		expected = strings.TrimLeft(expected, "- \r\n")
		isError := !strings.HasPrefix(expected, "{")
		isHandler := strings.Contains(expected, `"handler": "reverse_proxy"`) // not the name of a header, say
		if reverseProxyDirective.MatchString(caddyfile) && (isHandler || isError) {
			tests = append(tests, adaptTest{filepath.Base(file), caddyfile, isError})
		}
	}
	if len(tests) < 30 {
		t.Fatalf("only %d of Caddy's adapter tests have the directive; have they moved?", len(tests))
	}
	return tests
}

// renamed changes the directive's name.
func renamed(caddyfile string) string {
	return reverseProxyDirective.ReplaceAllString(caddyfile, "${1}proxyos")
}

func TestCaddysAdapterTestsHoldWithTheNameChanged(t *testing.T) {
	for _, test := range adaptTests(t) {
		t.Run(test.name, func(t *testing.T) {
			stock, stockErr := proxytest.AdaptCaddyfile(test.caddyfile)
			ours, err := proxytest.AdaptCaddyfile(renamed(test.caddyfile))
			if test.isError != (stockErr != nil) {
				t.Fatalf("Caddy's own test does not hold: %v", stockErr)
			}
			if stockErr != nil {
				want := strings.ReplaceAll(stockErr.Error(), "reverse_proxy", "proxyos")
				if err == nil || err.Error() != want {
					t.Errorf("got error %v, want %v", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, want := normalized(t, ours), normalized(t, stock)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%s\nwant\n%s", indented(got), indented(want))
			}
		})
	}
}

func TestCaddysAdapterTestsLoadWithTheNameChanged(t *testing.T) {
	t.Chdir(caddyTests(t)) // some of the configs name files from there
	s := newServer(t)
	loads := 0
	for _, test := range adaptTests(t) {
		if test.isError {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			stock, err := proxytest.AdaptCaddyfile(test.caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			ours := strings.ReplaceAll(string(stock), `"handler":"reverse_proxy"`, `"handler":"proxyos"`)
			if ours == string(stock) {
				t.Fatal("no handler to rename in Caddy's JSON")
			}
			stockErr, err := s.Validate(string(stock)), s.Validate(ours)
			if (err == nil) != (stockErr == nil) {
				t.Errorf("reverse_proxy: %v; proxyos: %v", stockErr, err)
			}
			if err == nil {
				loads++
			}
			if slow := s.Validate(lab.Slowed(ours)); (slow == nil) != (err == nil) {
				t.Errorf("with fast_path off: %v; on: %v", slow, err)
			}
			adapted := adapt(t, renamed(test.caddyfile))
			if err := s.Validate(adapted); (err == nil) != (stockErr == nil) {
				t.Errorf("from the Caddyfile: reverse_proxy: %v; proxyos: %v", stockErr, err)
			}
		})
	}
	if loads < 25 {
		t.Errorf("only %d of the configs load, which proves little", loads)
	}
}

// normalized takes from an adapted config the differences that there are meant to be
// between a proxyos handler and reverse_proxy's; all that remains must be equal.
func normalized(t testing.TB, config []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(config, &value); err != nil {
		t.Fatal(err)
	}
	lab.EachObject(value, func(object map[string]any) {
		switch object["handler"] {
		case "proxyos":
			// Rule 1: the name.
			object["handler"] = "reverse_proxy"
			// Rule 2: an upstream is its address as written, where reverse_proxy has a
			// dial address: without the scheme, with a port, a port range expanded.
			if upstreams, ok := object["upstreams"].([]any); ok {
				object["upstreams"] = dialled(upstreams)
			}
		case "reverse_proxy":
		default:
			return
		}
		// Rule 3: the scheme of an address turns TLS or h2c on for that upstream when the
		// config is loaded, where reverse_proxy writes it into the transport.
		if transport, ok := object["transport"].(map[string]any); ok {
			if tls, ok := transport["tls"].(map[string]any); ok && len(tls) == 0 {
				delete(transport, "tls")
			}
			if reflect.DeepEqual(transport["versions"], []any{"h2c", "2"}) && transport["tls"] == nil {
				delete(transport, "versions")
			}
			if len(transport) == 1 && transport["protocol"] == "http" {
				delete(object, "transport")
			}
		}
	})
	return value
}

// dialled returns the upstreams as reverse_proxy has them.
func dialled(upstreams []any) []any {
	var all []any
	for _, upstream := range upstreams {
		address := upstream.(string) // an object would be an option that reverse_proxy does not have
		port := "80"
		if scheme, rest, ok := strings.Cut(address, "://"); ok {
			address = rest
			if scheme == "https" {
				port = "443"
			}
		}
		if path, ok := strings.CutPrefix(address, "unix+h2c/"); ok {
			address = "unix/" + path
		}
		if host, ports, err := net.SplitHostPort(address); err == nil {
			first, last, isRange := strings.Cut(ports, "-")
			if isRange {
				from, _ := strconv.Atoi(first)
				to, _ := strconv.Atoi(last)
				for port := from; port <= to; port++ {
					all = append(all, map[string]any{"dial": net.JoinHostPort(host, strconv.Itoa(port))})
				}
				continue
			}
		} else if !strings.Contains(address, "/") && !strings.HasPrefix(address, "{") {
			address = net.JoinHostPort(address, port)
		}
		all = append(all, map[string]any{"dial": address})
	}
	return all
}

func indented(value any) string {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(encoded)
}
