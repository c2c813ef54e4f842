package proxyos

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"time"
)

// certificate is what there is to know about the certificate that a server shows.
type certificate struct {
	SHA256     string    `json:"sha256"` // what tls_pin takes
	Subject    string    `json:"subject"`
	Names      []string  `json:"names,omitempty"` // DNS names and IP addresses
	Issuer     string    `json:"issuer"`
	SelfSigned bool      `json:"self_signed"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`

	// Whether the certificate would have passed the check, or why not.
	Verifies bool   `json:"verifies"`
	Problem  string `json:"problem,omitempty"`
}

// describeCertificate describes the first certificate of a chain, and checks it for a
// host against the trusted roots, nil being those of the system.
func describeCertificate(chain []*x509.Certificate, host string, roots *x509.CertPool) certificate {
	leaf := chain[0]
	c := certificate{
		SHA256:     pin(sha256.Sum256(leaf.Raw)).String(),
		Subject:    leaf.Subject.String(),
		Names:      leaf.DNSNames,
		Issuer:     leaf.Issuer.String(),
		SelfSigned: isSelfSigned(leaf),
		NotBefore:  leaf.NotBefore,
		NotAfter:   leaf.NotAfter,
	}
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	if err := verifyChain(chain, host, roots); err != nil {
		c.Problem = err.Error()
	} else {
		c.Verifies = true
	}
	return c
}

// verifyChain does what a TLS client does to the chain of a server.
func verifyChain(chain []*x509.Certificate, host string, roots *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: intermediates})
	return err
}

func isSelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
