package lab

import (
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Kind is one way in which an upstream can be spoken to.
type Kind struct {
	Name    string
	Backend *proxytest.Backend
	Option  string // the upstream subdirective
}

// AllKinds starts one backend of each kind.
func AllKinds(t testing.TB) []Kind {
	t.Helper()
	ca := proxytest.NewAuthority(t)
	plain, h2c, socket := proxytest.Plain(t, "plain", ""), proxytest.H2C(t, "h2c", ""), proxytest.UnixSocket(t, "socket")
	verified, skipped := proxytest.SignedBy(t, ca, "verified", ""), proxytest.Untrusted(t, "skipped", "")
	return []Kind{
		{"plain", plain, "upstream http://" + plain.Addr},
		{"verified", verified, "upstream https://" + verified.Addr + " {\ntls_trust_pool file " + ca.File + "\n}"},
		{"skipped", skipped, "upstream https://" + skipped.Addr + " {\nskip_tls_verify\n}"},
		{"h2c", h2c, "upstream h2c://" + h2c.Addr},
		{"socket", socket, "upstream unix/" + socket.Addr},
	}
}

// ThroughEachKind runs a test once for each kind of upstream, from Caddyfile and JSON.
func ThroughEachKind(t *testing.T, test func(*testing.T, *Server, *proxytest.Backend)) {
	t.Helper()
	for _, kind := range AllKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			BothForms(t, "proxyos {\n"+kind.Option+"\n}", func(t *testing.T, s *Server) { test(t, s, kind.Backend) })
		})
	}
}
