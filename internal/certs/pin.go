package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// Pin is the SHA-256 of a whole certificate in DER. A pinned certificate is accepted no matter
// who signed it.
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.Raw) }

// ParsePin reads a pin: 64 hexadecimal digits of either case, with or without colons. The
// error quotes what was written and says where to get a pin.
func ParsePin(text string) (Pin, error) {
	digits := strings.ReplaceAll(text, ":", "")
	var p Pin
	decoded, err := hex.DecodeString(digits)
	switch {
	case digits == "":
		return Pin{}, errors.New("tls_pin: the SHA-256 of the certificate is missing; `caddy proxyos probe <address>` prints it")
	case err != nil:
		return Pin{}, fmt.Errorf("tls_pin %q: it is not hexadecimal; write the 64 digits that `caddy proxyos probe <address>` prints", text)
	case len(decoded) == 20:
		return Pin{}, fmt.Errorf("tls_pin %q: 40 digits are a SHA-1; write the SHA-256, the 64 digits that `caddy proxyos probe <address>` prints", text)
	case len(decoded) != len(p):
		return Pin{}, fmt.Errorf("tls_pin %q: it has %d hexadecimal digits, but a SHA-256 has 64; `caddy proxyos probe <address>` prints it", text, len(digits))
	}
	return Pin(decoded), nil
}

// ParsePins reads the pins of one server. It returns them sorted and without duplicates, or the
// error of the first text that is not a pin.
func ParsePins(texts []string) ([]Pin, error) {
	var pins []Pin
	for _, text := range texts {
		p, err := ParsePin(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, p)
	}
	slices.SortFunc(pins, func(a, b Pin) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(pins), nil
}

// String prints the pin in 64 lower-case hexadecimal digits.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// CheckPins rejects a connection to a server that shows a certificate that is not pinned, with
// a *PinError, or that shows no certificate. The certificate's signer, names and dates do not
// matter. CheckPins is for VerifyConnection of tls.Config.
func CheckPins(pins []Pin, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server shows no certificate, but one is pinned")
	}
	leaf := state.PeerCertificates[0]
	if shown := PinOf(leaf); !slices.Contains(pins, shown) {
		return &PinError{Shown: shown, Subject: printable.Short(leaf.Subject.String())}
	}
	return nil
}

// PinError is the rejection of a certificate that is not pinned.
type PinError struct {
	Shown   Pin    // of the certificate that the server showed
	Subject string // of that certificate, such as "CN=app"
}

func (e *PinError) Error() string {
	return fmt.Sprintf("the server's certificate is not pinned: it has SHA-256 %s and subject %q", e.Shown, e.Subject)
}

// Interface guard
var _ error = (*PinError)(nil)
