package certs

import (
	"bytes"
	"crypto/x509"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// maxNames is how many names a Description has, at most.
const maxNames = 10

// Description is what there is to know about the certificate that a server shows. It can be
// printed as JSON, and in a terminal: its texts are short and have nothing in them that a terminal
// would obey, whatever stands in the certificate.
type Description struct {
	SHA256     string    `json:"sha256"`               // its pin, as printed by Pin.String
	Subject    string    `json:"subject"`              // "CN=app", for example; may be empty
	Names      []string  `json:"names,omitempty"`      // DNS names and IP addresses, ten at most
	MoreNames  int       `json:"more_names,omitempty"` // how many it has besides
	Issuer     string    `json:"issuer"`               // the subject of whoever has signed it
	SelfSigned bool      `json:"self_signed"`          // signed with its own key
	NotBefore  time.Time `json:"not_before"`           // valid from then on
	NotAfter   time.Time `json:"not_after"`            // and until then

	Verifies bool   `json:"verifies"`          // whether it would pass the check of a TLS client
	Problem  string `json:"problem,omitempty"` // why it would not
}

// Describe describes the first certificate of a chain, which must have one, and checks it as
// Verify does.
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

// Verify does what a TLS client does to the chain of a server, which must have a certificate:
// it checks who signed it, whether it is valid now, and whether it is for a host, a name or an IP
// address. The trusted roots are those of the system if roots is nil. The error is that of
// x509.Certificate.Verify. The host is not checked if it is empty.
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
