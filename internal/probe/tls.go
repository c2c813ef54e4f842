package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	conn, err := p.dial(ctx)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	return secure.ConnectionState(), nil
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
	f.chain = state.PeerCertificates
	if len(f.chain) > 0 {
		shown := certs.Describe(f.chain, p.tlsConfig(true).ServerName, p.Roots)
		f.Certificate = &shown
		f.otherName = verifyingName(f.chain, p.Roots)
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

// verifyingName returns a name of the certificate by which it passes the check.
func verifyingName(chain []*x509.Certificate, roots *x509.CertPool) string {
	for _, name := range chain[0].DNSNames {
		if !strings.Contains(name, "*") && certs.Verify(chain, name, roots) == nil {
			return name
		}
	}
	return ""
}
