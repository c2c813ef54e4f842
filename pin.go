package proxyos

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// pin is the SHA-256 of a certificate, as a whole, in DER.
type pin [sha256.Size]byte

// parsePin reads a pin: 64 hexadecimal digits of either case, with or without colons.
func parsePin(text string) (pin, error) {
	digits := strings.ReplaceAll(text, ":", "")
	var p pin
	decoded, err := hex.DecodeString(digits)
	switch {
	case digits == "":
		return pin{}, errors.New("tls_pin: the SHA-256 of the certificate is missing; `caddy proxyos probe <address>` prints it")
	case err != nil:
		return pin{}, fmt.Errorf("tls_pin %q: not hexadecimal; write the 64 digits that `caddy proxyos probe <address>` prints", text)
	case len(decoded) == 20:
		return pin{}, fmt.Errorf("tls_pin %q: 40 digits are a SHA-1; write the SHA-256, which has 64 and which `caddy proxyos probe <address>` prints", text)
	case len(decoded) != len(p):
		return pin{}, fmt.Errorf("tls_pin %q: it has %d hexadecimal digits, and a SHA-256 has 64; `caddy proxyos probe <address>` prints it", text, len(digits))
	}
	return pin(decoded), nil
}

// parsePins reads the pins of one upstream, sorted and each once.
func parsePins(texts []string) ([]pin, error) {
	var pins []pin
	for _, text := range texts {
		p, err := parsePin(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, p)
	}
	slices.SortFunc(pins, func(a, b pin) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(pins), nil
}

func (p pin) String() string { return hex.EncodeToString(p[:]) }

// checkPins refuses a connection to a server that shows a certificate which is none of
// the pinned ones. Who signed the certificate, for which name, and until when it is valid
// do not matter.
func checkPins(pins []pin, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server shows no certificate, and one is pinned")
	}
	leaf := state.PeerCertificates[0]
	if shown := pin(sha256.Sum256(leaf.Raw)); !slices.Contains(pins, shown) {
		return &pinError{shown: shown, subject: leaf.Subject.String()}
	}
	return nil
}

// pinError is the refusal of a certificate that is not pinned.
type pinError struct {
	shown   pin
	subject string
}

func (e *pinError) Error() string {
	return fmt.Sprintf("the server's certificate is not pinned: it has SHA-256 %s and subject %q", e.shown, e.subject)
}
