package proxyos

import (
	"flag"
	"os"
	"strings"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// trustedCA is in the system's trust store for the time of the tests.
var trustedCA = proxytest.TrustedAuthority()

// The tests that run beside each other wait most of the time: more of them than there are cores.
func TestMain(m *testing.M) {
	flag.Parse()
	isGiven := false
	flag.Visit(func(f *flag.Flag) { isGiven = isGiven || f.Name == "test.parallel" })
	if !isGiven {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// sized returns how often, or with how much, an expensive test does what it does: usually, and in the
// long tests.
func sized(usually, long int) int {
	if os.Getenv("PROXYOS_LONG") == "1" {
		return long
	}
	return usually
}

// labCaddy is a Caddy that serves one site.
type labCaddy struct{ *proxytest.Caddy }

// runCaddy runs Caddy with the directives of a site until the test ends.
func runCaddy(t testing.TB, directives string) labCaddy {
	t.Helper()
	c := labCaddy{proxytest.NewCaddy(t)}
	c.reload(directives)
	return c
}

// reload replaces the directives of the site.
func (c labCaddy) reload(directives string) { c.MustLoad(c.Site(directives)) }

// hints returns the hints in the log.
func (c labCaddy) hints() string {
	var hints []string
	for _, entry := range c.Logs.EntriesWith("hint") {
		hints = append(hints, entry["hint"].(string))
	}
	return strings.Join(hints, "\n")
}

// adapted returns the JSON of a Caddyfile.
func (labCaddy) adapted(t testing.TB, config string) string {
	t.Helper()
	adapted, err := proxytest.AdaptCaddyfile(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(adapted)
}
