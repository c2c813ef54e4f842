package certs

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"
)

// Description describes the certificate that a server shows. It can be printed as JSON.
type Description struct {
	SHA256     string    `json:"sha256"`          // its pin, as printed by Pin.String
	Subject    string    `json:"subject"`         // such as "CN=app"; may be empty
	Names      []string  `json:"names,omitempty"` // DNS names and IP addresses
	Issuer     string    `json:"issuer"`          // the subject of the signer
	SelfSigned bool      `json:"self_signed"`     // signed with its own key
	NotBefore  time.Time `json:"not_before"`      // valid from then on
	NotAfter   time.Time `json:"not_after"`       // and until then

	Verifies bool   `json:"verifies"`          // whether it would pass the check of a TLS client
	Problem  string `json:"problem,omitempty"` // why it would not
}

// Describe describes the first certificate of a chain, and checks it as Verify does. The chain
// must not be empty.
func Describe(chain []*x509.Certificate, host string, roots *x509.CertPool) Description {
	leaf := chain[0]
	c := Description{
		SHA256:     PinOf(leaf).String(),
		Subject:    leaf.Subject.String(),
		Names:      slices.Clone(leaf.DNSNames), // the leaf may be shared by connections
		Issuer:     leaf.Issuer.String(),
		SelfSigned: IsSelfSigned(leaf),
		NotBefore:  leaf.NotBefore,
		NotAfter:   leaf.NotAfter,
	}
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	if err := Verify(chain, host, roots); err != nil {
		c.Problem = err.Error()
	} else {
		c.Verifies = true
	}
	return c
}

// Verify checks the chain of a server as a TLS client does: who signed it, whether it is valid
// now, and whether it is for a host, a name or an IP address. The chain must not be empty. If
// roots is nil, the system's roots are trusted. The error is that of x509.Certificate.Verify.
func Verify(chain []*x509.Certificate, host string, roots *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: intermediates})
	return err
}

// IsSelfSigned tells whether a certificate is signed with its own key.
func IsSelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
