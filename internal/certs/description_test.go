package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// selfSigned makes a self-signed certificate for names and IP addresses.
func selfSigned(t testing.TB, names ...string) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{proxytest.SelfSigned(t, names...).Leaf}
}

func TestACertificateIsDescribedAndChecked(t *testing.T) {
	chain := selfSigned(t, "app.lan", "127.0.0.1")
	trusting := x509.NewCertPool()
	trusting.AddCert(chain[0])
	for _, c := range []struct {
		name, host string
		roots      *x509.CertPool
		problem    string
	}{
		{"trusted", "127.0.0.1", trusting, ""},
		{"by another of its names", "app.lan", trusting, ""},
		{"by a wrong name", "other.lan", trusting, "not other.lan"},
		{"not trusted", "127.0.0.1", x509.NewCertPool(), "unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Describe(chain, c.host, c.roots)
			if d.Verifies != (c.problem == "") || !strings.Contains(d.Problem, c.problem) {
				t.Errorf("verifies %v, problem %q, want %q", d.Verifies, d.Problem, c.problem)
			}
			if d.SHA256 != PinOf(chain[0]).String() || d.Subject != "CN=upstream" || d.Issuer != "CN=upstream" || !d.SelfSigned ||
				!slices.Equal(d.Names, []string{"app.lan", "127.0.0.1"}) || !d.NotAfter.Equal(chain[0].NotAfter) {
				t.Errorf("described as %+v", d)
			}
			encoded, err := json.Marshal(d)
			if err != nil || !strings.Contains(string(encoded), `"self_signed":true,"not_before":"`) {
				t.Errorf("encoded as %s, %v", encoded, err)
			}
		})
	}
}

func TestADescriptionIsShort(t *testing.T) {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "\x1b[31m" + strings.Repeat("x", 300)}}
	for i := range 15 {
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("n%d\n%s.lan", i, strings.Repeat("x", 300)))
		template.IPAddresses = append(template.IPAddresses, net.IPv4(10, 0, 0, byte(i)))
	}
	for _, c := range []struct{ names, addresses, shown, more int }{
		{15, 15, 10, 20}, {10, 0, 10, 0}, {8, 15, 10, 13}, {0, 11, 10, 1}, {1, 1, 2, 0}, {0, 0, 0, 0},
	} {
		one := *template
		one.DNSNames, one.IPAddresses = template.DNSNames[:c.names], template.IPAddresses[:c.addresses]
		leaf := (*proxytest.Authority)(nil).Sign(t, &one).Leaf
		d := Describe([]*x509.Certificate{leaf}, "10.0.0.1", nil)
		if len(d.Names) != c.shown || d.MoreNames != c.more {
			t.Errorf("%d names and %d addresses: %d shown and %d more", c.names, c.addresses, len(d.Names), d.MoreNames)
		}
		for _, text := range append(d.Names, d.Subject, d.Issuer, d.Problem) {
			if len([]rune(text)) > 200 || strings.ContainsAny(text, "\x1b\n") {
				t.Errorf("%q", text)
			}
		}
	}
}
