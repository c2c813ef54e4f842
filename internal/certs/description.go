package certs

import (
	"bytes"
	"crypto/x509"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// maxNames is the largest number of names in a Description.
const maxNames = 10

// Description describes the certificate that a server shows. It can be printed as JSON and in a
// terminal: whatever the certificate contains, the texts are short, and a terminal obeys nothing
// in them.
type Description struct {
	SHA256     string    `json:"sha256"`               // its pin, as printed by Pin.String
	Subject    string    `json:"subject"`              // such as "CN=app"; may be empty
	Names      []string  `json:"names,omitempty"`      // DNS names and IP addresses, at most ten
	MoreNames  int       `json:"more_names,omitempty"` // how many further names it has
	Issuer     string    `json:"issuer"`               // the subject of the signer
	SelfSigned bool      `json:"self_signed"`          // signed with its own key
	NotBefore  time.Time `json:"not_before"`           // valid from then on
	NotAfter   time.Time `json:"not_after"`            // and until then

	Verifies bool   `json:"verifies"`          // whether it would pass the check of a TLS client
	Problem  string `json:"problem,omitempty"` // why it would not
}

// Describe describes the first certificate of a chain, and checks it as Verify does. The chain
// must not be empty.
func Describe(chain []*x509.Certificate, host string, roots *x509.CertPool) Description {
	leaf := chain[0]
	c := Description{
		SHA256:     PinOf(leaf).String(),
		Subject:    printable.Short(leaf.Subject.String()),
		Issuer:     printable.Short(leaf.Issuer.String()),
		SelfSigned: IsSelfSigned(leaf),
		NotBefore:  leaf.NotBefore,
		NotAfter:   leaf.NotAfter,
	}
	for _, name := range leaf.DNSNames[:min(len(leaf.DNSNames), maxNames)] {
		c.Names = append(c.Names, printable.Short(name))
	}
	for _, ip := range leaf.IPAddresses[:min(len(leaf.IPAddresses), maxNames-len(c.Names))] {
		c.Names = append(c.Names, ip.String())
	}
	c.MoreNames = len(leaf.DNSNames) + len(leaf.IPAddresses) - len(c.Names)
	if err := Verify(chain, host, roots); err != nil {
		c.Problem = printable.Short(err.Error())
	} else {
		c.Verifies = true
	}
	return c
}

// Verify checks the chain of a server as a TLS client does: who signed it, whether it is valid
// now, and whether it is for a host, a name or an IP address. The chain must not be empty. An
// empty host is not checked. If roots is nil, the system's roots are trusted. The error is that of
// x509.Certificate.Verify.
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
