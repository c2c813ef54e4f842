package proxytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is a certificate authority that signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	File        string // the certificate as PEM; empty for TrustedAuthority

	key *ecdsa.PrivateKey
}

// NewAuthority returns an authority that nobody trusts.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := newAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	a.File = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(a.File, EncodeCertificate(a.Certificate.Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// TrustedAuthority returns an authority that is the only one in the system's trust store,
// as far as this process is concerned. The store is read once: call it in the declaration of
// a variable, before anything verifies a certificate.
func TrustedAuthority() *Authority {
	a, err := newAuthority("Trusted Test CA")
	if err == nil {
		err = trust(a)
	}
	if err != nil {
		panic(err)
	}
	return a
}

func trust(a *Authority) error {
	file, err := os.CreateTemp("", "proxytest-ca-*.pem")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(EncodeCertificate(a.Certificate.Raw)); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Setenv("SSL_CERT_FILE", file.Name()); err != nil {
		return err
	}
	_, err = x509.SystemCertPool() // reads the file, once for the process
	return err
}

func newAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &Authority{Certificate: certificate, key: key}, err
}

// Pool returns a pool that trusts only this authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Issue returns a certificate that is valid now, for servers and clients. Its names are
// domain names, IP addresses, or addresses with ports, which are left out.
func (a *Authority) Issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return a.IssueFor(t, -time.Hour, time.Hour, names...)
}

// IssueFor is Issue for a time that begins and ends that long from now. A nil authority
// issues self-signed certificates.
func (a *Authority) IssueFor(t testing.TB, from, to time.Duration, names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "upstream"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.Sign(t, template)
}

// Sign returns a certificate that says what a template does, with a key and a serial number of
// its own. A nil authority makes self-signed certificates.
func (a *Authority) Sign(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.Certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// SelfSigned returns a self-signed certificate that is valid now; see Issue for its names.
func SelfSigned(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return SelfSignedFor(t, -time.Hour, time.Hour, names...)
}

// SelfSignedFor is SelfSigned for a time that begins and ends that long from now.
func SelfSignedFor(t testing.TB, from, to time.Duration, names ...string) tls.Certificate {
	t.Helper()
	return (*Authority)(nil).IssueFor(t, from, to, names...)
}

// Serving returns the TLS config of a server with a certificate.
func Serving(certificate tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate}}
}

// PinOf returns the SHA-256 of a certificate in hexadecimal, as tls_pin takes it.
func PinOf(certificate tls.Certificate) string {
	sum := sha256.Sum256(certificate.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// EncodeCertificate returns a certificate as PEM.
func EncodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// WriteCertificate writes a certificate and its key to files, as PEM.
func WriteCertificate(t testing.TB, certificate tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certFile, keyFile = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for file, content := range map[string][]byte{
		certFile: EncodeCertificate(certificate.Certificate[0]),
		keyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
