package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
)

const somePin = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestParsePin(t *testing.T) {
	var colons []string
	for pair := range slices.Chunk([]byte(somePin), 2) {
		colons = append(colons, string(pair))
	}
	for _, written := range []string{somePin, strings.ToUpper(somePin), strings.Join(colons, ":"), strings.ToUpper(strings.Join(colons, ":"))} {
		if p, err := ParsePin(written); err != nil || p.String() != somePin {
			t.Errorf("%s: %v, %v", written, p, err)
		}
	}
	for written, want := range map[string]string{
		"":                       "is missing",
		"sha256:" + somePin:      "not hexadecimal",
		somePin[1:]:              "not hexadecimal",
		somePin[:40]:             "are a SHA-1",
		somePin + "00":           "has 66 hexadecimal digits",
		"AAECAwQFBgcICQoLDA0ODw": "not hexadecimal",
	} {
		if _, err := ParsePin(written); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", written, err, want)
		}
	}
}

func TestPinsAreSortedWithoutDuplicates(t *testing.T) {
	other := strings.Repeat("f", 64)
	pins, err := ParsePins([]string{other, somePin, strings.ToUpper(other)})
	if err != nil || len(pins) != 2 || pins[0].String() != somePin || pins[1].String() != other {
		t.Errorf("got %v, %v", pins, err)
	}
	if pins, err := ParsePins(nil); err != nil || len(pins) != 0 {
		t.Errorf("of nothing: %v, %v", pins, err)
	}
	if _, err := ParsePins([]string{somePin, "abc"}); err == nil {
		t.Error("a wrong pin was accepted")
	}
}

func TestOnlyPinnedCertificatesAreAccepted(t *testing.T) {
	pinned, other := selfSigned(t, "127.0.0.1"), selfSigned(t, "127.0.0.1")
	pins := []Pin{PinOf(pinned[0])}
	shown := func(chain ...*x509.Certificate) error {
		return CheckPins(pins, tls.ConnectionState{PeerCertificates: chain})
	}
	if err := shown(pinned[0], other[0]); err != nil {
		t.Error(err)
	}
	rejected, ok := errors.AsType[*PinError](shown(other[0], pinned[0]))
	if !ok || rejected.Shown != PinOf(other[0]) || rejected.Subject != "CN=upstream" || !strings.Contains(rejected.Error(), rejected.Shown.String()) {
		t.Errorf("another certificate: %v", rejected)
	}
	if shown() == nil {
		t.Error("accepted a server without a certificate")
	}
}

func FuzzParsePin(f *testing.F) {
	for _, seed := range []string{"", somePin, somePin[:40], "sha256:" + somePin, "00:11", ":"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePin(text)
		if err != nil {
			return
		}
		if again, err := ParsePin(p.String()); err != nil || again != p {
			t.Errorf("%q is %v, printed and parsed again %v, %v", text, p, again, err)
		}
	})
}
