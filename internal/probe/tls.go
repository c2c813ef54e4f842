package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// tlsConfig is what a handshake is made with.
func (p *Prober) tlsConfig(verify bool) *tls.Config {
	host := p.host
	if host == "" || p.network == "unix" {
		host = "localhost"
	}
	return &tls.Config{
		ServerName:         host,
		RootCAs:            p.Roots,
		InsecureSkipVerify: !verify, //nolint:gosec // to see the certificate that was refused
		NextProtos:         []string{"h2", "http/1.1"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			p.asked.Store(true)
			return new(tls.Certificate), nil
		},
	}
}

// shakeHands makes one TLS handshake.
func (p *Prober) shakeHands(ctx context.Context, config *tls.Config) (tls.ConnectionState, error) {
	return within(ctx, func() (tls.ConnectionState, error) {
		conn, err := p.dial(ctx, address.HTTPS)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return tls.ConnectionState{}, err
		}
		return secure.ConnectionState(), nil
	})
}

// trySecure tries TLS, with the certificate checked and unchecked, and HTTPS.
func (p *Prober) trySecure(ctx context.Context, f *Findings) {
	start := time.Now()
	state, err := p.shakeHands(ctx, p.tlsConfig(true))
	f.verified = trial{made: true, err: err}
	if err != nil {
		p.show(Step{Name: "tls checked", Detail: inShort(err), Milliseconds: took(start)})
		if ctx.Err() != nil {
			return
		}
		start = time.Now()
		if state, err = p.shakeHands(ctx, p.tlsConfig(false)); err != nil {
			f.handshake, f.asked = trial{made: true, err: err}, p.asked.Load()
			p.show(Step{Name: "tls unchecked", Detail: inShort(err), Milliseconds: took(start)})
			if diagnose.Of(err) == diagnose.OldTLS {
				p.tryOldTLS(ctx)
			}
			return
		}
	}
	f.handshake.made = true
	if chain := state.PeerCertificates; len(chain) > 0 {
		shown, err := within(ctx, func() (described, error) { return p.describe(chain), nil })
		if err == nil {
			f.Certificate, f.otherName = &shown.certificate, shown.otherName
		}
	}
	detail := tls.VersionName(state.Version)
	if state.NegotiatedProtocol != "" {
		detail += ", ALPN " + state.NegotiatedProtocol
	}
	name := "tls unchecked"
	if f.verified.err == nil {
		name = "tls checked"
	}
	p.show(Step{Name: name, OK: true, Detail: detail, Milliseconds: took(start), Certificate: f.Certificate})
	f.https = p.request(ctx, "https", address.HTTPS)
	f.asked = p.asked.Load()
}

// tryOldTLS shows which version a server speaks that rejects all current ones.
func (p *Prober) tryOldTLS(ctx context.Context) {
	start := time.Now()
	config := p.tlsConfig(false)
	config.MinVersion = tls.VersionTLS10 //nolint:gosec // to tell what it is
	for _, suites := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range suites {
			config.CipherSuites = append(config.CipherSuites, suite.ID)
		}
	}
	if state, err := p.shakeHands(ctx, config); err == nil {
		p.show(Step{Name: "tls old", OK: true, Detail: tls.VersionName(state.Version) + " and nothing newer", Milliseconds: took(start)})
	}
}

// described describes a certificate.
type described struct {
	certificate certs.Description
	otherName   string
}

// describe describes the certificate of a chain.
func (p *Prober) describe(chain []*x509.Certificate) described {
	d := described{certificate: certs.Describe(chain, p.tlsConfig(true).ServerName, p.Roots)}
	if !d.certificate.Verifies {
		d.otherName = verifyingName(chain, p.Roots)
	}
	return d
}

// verifyingName returns a name of the certificate by which it passes the check. It verifies the
// chain only once, however many names there are.
func verifyingName(chain []*x509.Certificate, roots *x509.CertPool) string {
	leaf := chain[0]
	i := slices.IndexFunc(leaf.DNSNames, func(name string) bool { return isName(name) && leaf.VerifyHostname(name) == nil })
	if i < 0 || certs.Verify(chain, "", roots) != nil {
		return ""
	}
	return leaf.DNSNames[i]
}

// isName tells whether a name of a certificate, which the server made up, can safely be written in
// a Caddyfile.
func isName(name string) bool {
	return name != "" && len(name) <= 253 && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
