package proxyos

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

func TestLineToWrite(t *testing.T) {
	for advice, want := range map[string]string{
		"write https://pve:8006": "https://pve:8006",
		"write http://app:3000 if it speaks HTTP/1.1, or check the port":                                                     "http://app:3000",
		"write `tls_client_auth <cert_file> <key_file>` for this upstream":                                                   "tls_client_auth <cert_file> <key_file>",
		"it may want HTTPS (then write https://app:3000), or be crashing":                                                    "https://app:3000",
		"it may not speak HTTPS (then write http://app:443), may demand a client certificate, or may be crashing":            "http://app:443",
		"check that the service runs, that the port is right, and that it listens on more than localhost":                    "",
		"check the service; in a container, localhost is the container itself: write the name of the service's container":    "",
		"if you replaced it, add `tls_pin sha256:abc`; if not, another server may be impersonating the upstream":             "",
		"set `keepalive` in `transport http` to less than the upstream's own idle time-out, such as `keepalive 4s`":          "",
		"check /etc/resolv.conf, or write an IP address":                                                                     "",
		"write `tls_trust_pool file <ca.pem>` with the authority's certificate, or `tls_pin <sha256>` for this upstream (…)": "tls_trust_pool file <ca.pem>",
	} {
		if got := lineToWrite(advice); got != want {
			t.Errorf("%q says to write %q, want %q", advice, got, want)
		}
	}
}

// Whatever an advice has the page offer to copy can be written as an address or as a subdirective.
func TestEveryLineToWriteIsOne(t *testing.T) {
	at, err := address.Parse("https://app:3000")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, cause := range diagnose.Causes {
		for _, scheme := range []string{address.HTTP, address.HTTPS, address.H2C} {
			_, advice := cause.Tell(diagnose.Upstream{Address: at, Scheme: scheme}, errors.New("it failed"))
			line := lineToWrite(advice)
			if line == "" {
				continue
			}
			found++
			_, err := address.Parse(line)
			isSubdirective := slices.ContainsFunc([]string{"tls_", "versions ", "transport "}, func(name string) bool { return strings.HasPrefix(line, name) })
			if err != nil && !isSubdirective {
				t.Errorf("%s: %q of %q is nothing to write", cause, line, advice)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d causes say what to write", found)
	}
}
