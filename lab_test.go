package proxyos

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/certs"
)

// A laboratory of upstreams that do not answer: real servers on loopback addresses.

// labAuthority signs certificates.
type labAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// labTrusted is in the system's trust store for the time of the tests.
var labTrusted = newLabAuthority("Trusted Laboratory CA")

func init() {
	file, err := os.CreateTemp("", "proxyos-test-ca-*.pem")
	if err != nil {
		panic(err)
	}
	defer os.Remove(file.Name())
	_, _ = file.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: labTrusted.cert.Raw}))
	_ = file.Close()
	os.Setenv("SSL_CERT_FILE", file.Name())
	if _, err := x509.SystemCertPool(); err != nil { // read now, once for the process
		panic(err)
	}
}

func newLabAuthority(name string) labAuthority {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	cert, _ := x509.ParseCertificate(der)
	return labAuthority{cert, key}
}

// labCert makes a certificate for names and IP addresses; a nil authority means
// self-signed.
func labCert(t testing.TB, by *labAuthority, from, to time.Duration, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "upstream"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// labCertFor is labCert for a server's address, valid now.
func labCertFor(t testing.TB, by *labAuthority, address string) tls.Certificate {
	return labCert(t, by, -time.Hour, time.Hour, netip.MustParseAddrPort(address).Addr().String())
}

func labPin(c tls.Certificate) string {
	return certs.Pin(sha256.Sum256(c.Certificate[0])).String()
}

// labListen listens on a port, 0 for any, of a loopback address that has it free.
func labListen(t testing.TB, port int) net.Listener {
	t.Helper()
	for host := 40; host < 250; host++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:%d", host, port))
		if err == nil {
			t.Cleanup(func() { _ = listener.Close() })
			return listener
		}
	}
	t.Fatalf("port %d is taken on all loopback addresses", port)
	return nil
}

// labGreeting is what all servers of the laboratory answer that do answer.
const labGreeting = "hello from the laboratory"

func labHandler(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, labGreeting) }

// labServe serves HTTP, with TLS unless config is nil.
func labServe(t testing.TB, listener net.Listener, config *tls.Config) *http.Server {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(labHandler), TLSConfig: config, ErrorLog: quietLog}
	if config == nil {
		go func() { _ = server.Serve(listener) }()
	} else {
		go func() { _ = server.ServeTLS(listener, "", "") }()
	}
	t.Cleanup(func() { _ = server.Close() })
	return server
}

// labRaw answers each connection with a function.
func labRaw(t testing.TB, listener net.Listener, answer func(net.Conn)) {
	t.Helper()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
}

// labSniffing serves HTTPS to clients that begin with a TLS handshake, and answers all
// others with the given bytes.
func labSniffing(t testing.TB, listener net.Listener, config *tls.Config, toOthers string) {
	t.Helper()
	secure := &connListener{conns: make(chan net.Conn), addr: listener.Addr()}
	labServe(t, secure, config)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				reader := bufio.NewReader(conn)
				first, err := reader.Peek(1)
				if err == nil && first[0] == 0x16 {
					secure.conns <- &sniffedConn{conn, reader}
					return
				}
				_, _ = reader.ReadString('\n')
				_, _ = io.WriteString(conn, toOthers)
				_ = conn.Close()
			}()
		}
	}()
}

type sniffedConn struct {
	net.Conn
	reader io.Reader
}

func (c *sniffedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

type connListener struct {
	conns  chan net.Conn
	addr   net.Addr
	closed sync.Once
}

func (l *connListener) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l *connListener) Close() error   { l.closed.Do(func() { close(l.conns) }); return nil }
func (l *connListener) Addr() net.Addr { return l.addr }

// labBlackHole returns an address that swallows connection attempts: its queue is full.
func labBlackHole(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 39}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.39:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("this system keeps accepting connections to a full queue, so that it can have no black hole")
	return ""
}

// labNameServer answers every question with NXDOMAIN, and returns its address.
func labNameServer(t testing.TB) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.38:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			packet[2] |= 0x80 // a response
			packet[3] = 0x83  // recursion available, NXDOMAIN
			_, _ = conn.WriteTo(packet[:n], from)
		}
	}()
	return conn.LocalAddr().String()
}

// labRefused returns an address where nothing listens.
func labRefused(t testing.TB) string {
	t.Helper()
	listener := labListen(t, 0)
	defer listener.Close()
	return listener.Addr().String()
}

// polite is a response with status 400.
func polite(body string) string {
	return fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// What servers say to plain HTTP on their HTTPS ports.
var (
	nginxRefusal = polite("<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n" +
		"<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n" +
		"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n" + strings.Repeat("<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n", 6))
	apacheRefusal = polite("<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>400 Bad Request</title>\n</head><body>\n" +
		"<h1>Bad Request</h1>\n<p>Your browser sent a request that this server could not understand.<br />\n" +
		"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n Instead use the HTTPS scheme to access this URL, please.<br />\n</p>\n</body></html>\n")
)
