package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// backend is a real HTTP server that counts its requests and answers with its name.
type backend struct {
	name string
	addr string // what to dial: host:port, or the path of a unix socket

	t         testing.TB
	network   string
	tls       *tls.Config // nil: cleartext
	protocols http.Protocols
	server    *http.Server

	requests atomic.Int64
	conns    atomic.Int64 // connections accepted
	mu       sync.Mutex
	seen     *http.Request
	handler  http.HandlerFunc
}

// plain starts a backend that speaks HTTP/1.1 without TLS. An address without a port, or
// none, is completed with 127.0.0.1 and a free port; see newBackend.
func plain(t testing.TB, name, addr string) *backend {
	t.Helper()
	b := newBackend(t, name, addr)
	b.protocols.SetHTTP1(true)
	b.start()
	return b
}

// h2c starts a backend that speaks HTTP/2 without TLS, and HTTP/1.1 to those who ask for it.
func h2c(t testing.TB, name, addr string) *backend {
	t.Helper()
	b := newBackend(t, name, addr)
	b.protocols.SetHTTP1(true)
	b.protocols.SetUnencryptedHTTP2(true)
	b.start()
	return b
}

// selfSigned starts an HTTPS backend whose certificate nobody trusts.
func selfSigned(t testing.TB, name, addr string) *backend {
	t.Helper()
	return signedBy(t, newCA(t), name, addr)
}

// signedBy starts an HTTPS backend with a certificate of a private CA, for the address's
// host, localhost and any further names.
func signedBy(t testing.TB, ca *privateCA, name, addr string, names ...string) *backend {
	t.Helper()
	b := newBackend(t, name, addr)
	b.protocols.SetHTTP1(true)
	b.protocols.SetHTTP2(true)
	host, _, _ := net.SplitHostPort(b.addr)
	b.tls = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, append(names, host, "localhost")...)}}
	b.start()
	return b
}

// unixSocket starts a cleartext backend on a unix socket, whose path is its addr.
func unixSocket(t testing.TB, name string) *backend {
	t.Helper()
	folder, err := os.MkdirTemp("", "sock") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	b := &backend{t: t, name: name, network: "unix", addr: filepath.Join(folder, "s")}
	b.protocols.SetHTTP1(true)
	t.Cleanup(b.stop)
	b.start()
	return b
}

// newBackend returns a backend on host:port that is not started yet. Without an address it
// gets a free port of 127.0.0.1; so it does with a host alone.
func newBackend(t testing.TB, name, addr string) *backend {
	t.Helper()
	if addr == "" {
		addr = freeAddr(t)
	} else if !strings.Contains(addr, ":") {
		addr += ":0"
	}
	b := &backend{t: t, name: name, network: "tcp", addr: addr}
	t.Cleanup(b.stop)
	return b
}

// start listens on the backend's address. Where another process has it at the moment,
// start waits for it.
func (b *backend) start() {
	b.t.Helper()
	listener := listen(b.t, b.network, b.addr)
	if b.network == "tcp" {
		b.addr = listener.Addr().String()
	}
	server := &http.Server{
		Handler:   http.HandlerFunc(b.serve),
		TLSConfig: b.tls.Clone(),
		Protocols: &b.protocols,
		ErrorLog:  log.New(io.Discard, "", 0), // clients that go away
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				b.conns.Add(1)
			}
		},
	}
	b.server = server
	go func() {
		if b.tls != nil {
			server.ServeTLS(listener, "", "")
			return
		}
		server.Serve(listener)
	}()
}

// stop closes the listener and every connection; start brings the backend back.
func (b *backend) stop() {
	if b.server != nil {
		b.server.Close()
		b.server = nil
	}
}

// answer replaces the handler that answers with the backend's name; nil restores it.
func (b *backend) answer(handler http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handler = handler
}

// last returns the last request that reached the backend, its body read: its protocol,
// host, header and TLS state. Nil if there was none.
func (b *backend) last() *http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	b.requests.Add(1)
	b.mu.Lock()
	b.seen = r
	handler := b.handler
	b.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	io.Copy(io.Discard, r.Body)
	io.WriteString(w, b.name)
}

// listen is net.Listen that waits while the address is in use, and skips the test where
// the system has one loopback address only.
func listen(t testing.TB, network, addr string) net.Listener {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		listener, err := net.Listen(network, addr)
		switch {
		case err == nil:
			return listener
		case errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline):
		case runtime.GOOS != "linux" && errors.Is(err, syscall.EADDRNOTAVAIL):
			t.Skipf("this test needs the loopback address %s, which %s does not have until it is added to the loopback interface: %v", addr, runtime.GOOS, err)
		default:
			t.Fatalf("listening on %s: %v", addr, err)
		}
	}
}

// privateCA is a certificate authority made for a test.
type privateCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // the certificate as PEM
}

func newCA(t testing.TB) *privateCA {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca := &privateCA{cert: cert, key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(ca.file, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	return ca
}

// issue returns a certificate for names and IP addresses, for servers and clients.
func (ca *privateCA) issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// write issues a certificate and returns the files that hold it and its key, as PEM.
func (ca *privateCA) write(t testing.TB, names ...string) (certFile, keyFile string) {
	t.Helper()
	cert := ca.issue(t, names...)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certFile, keyFile = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// pool returns a pool that trusts the CA alone.
func (ca *privateCA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// portOf returns the port of host:port.
func portOf(t testing.TB, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// tally requests / n times, one after the other, and counts the answers by body; any
// answer but 200 counts as its status.
func (s *server) tally(n int) map[string]int {
	s.t.Helper()
	counts := make(map[string]int)
	for range n {
		status, body := s.get("/")
		if status != http.StatusOK {
			body = fmt.Sprint(status)
		}
		counts[body]++
	}
	return counts
}
