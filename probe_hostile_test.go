package proxyos

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// evil is what a terminal would obey: a title, colors, a line of its own, text from right to left.
const evil = "\x1b]0;owned\a\x1b[31m\u202e\u009b2Jx"

// hostileServers answer each connection in a way that should do no harm.
func hostileServers() map[string]func(conn net.Conn) {
	flood := func(first, more string) func(net.Conn) {
		return func(conn net.Conn) {
			_, err := io.WriteString(conn, first)
			for more := strings.Repeat(more, 1+32<<10/len(more)); err == nil; {
				_, err = io.WriteString(conn, more)
			}
		}
	}
	drip := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			for _, b := range []byte(text) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	say := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, text)
		}
	}
	return map[string]func(net.Conn){
		"endless headers":               flood("HTTP/1.1 200 OK\r\n", "X-More: yes\r\n"),
		"an endless header":             flood("HTTP/1.1 200 OK\r\nServer: ", "x"),
		"an endless status line":        flood("HTTP/1.1 200 ", "x"),
		"an endless body":               flood("HTTP/1.1 200 OK\r\n\r\n", "x"),
		"an endless refusal":            flood("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "x"),
		"an endless chunked body":       flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
		"a banner that never ends":      flood("SSH-2.0-", "x"),
		"a banner of lines":             flood("220 ", "hello "+evil+"\r\n"),
		"a flood of 100s":               flood("", "HTTP/1.1 100 Continue\r\n\r\n"),
		"a flood of 103s":               flood("", "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"),
		"a flood of HTTP/2 pings":       flood("\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"),
		"a flood of HTTP/2 settings":    flood("", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
		"a flood of HTTP/2 headers":     flood("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88", "\x00\x00\x01\x09\x00\x00\x00\x00\x01\x88"),
		"a flood of TLS records":        flood("", "\x16\x03\x03\x00\x04\x00\x00\x00\x00"),
		"a flood of TLS warnings":       flood("", "\x15\x03\x03\x00\x02\x01\x00"),
		"slow bytes of a header":        drip("HTTP/1.1 200 OK\r\nServer: " + strings.Repeat("x", 1000)),
		"slow bytes of TLS":             drip("\x16\x03\x03\x40\x00" + strings.Repeat("\x00", 1000)),
		"slow bytes of a refusal":       drip("HTTP/1.1 400 Bad Request\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000)),
		"a huge redirect":               say("HTTP/1.1 302 Found\r\nLocation: https://" + strings.Repeat("x", 200<<10) + "/\r\nContent-Length: 0\r\n\r\n"),
		"a huge server":                 say("HTTP/1.1 200 OK\r\nServer: " + strings.Repeat("x", 200<<10) + "\r\nContent-Length: 0\r\n\r\n"),
		"an evil status":                say("HTTP/1.1 200 " + evil + "\r\nContent-Length: 0\r\n\r\n"),
		"an evil status of a bad kind":  say("HTTP/1.1 " + evil + "\r\n\r\n"),
		"an evil header":                say("HTTP/1.1 200 OK\r\nServer: " + evil + "\r\nContent-Length: 0\r\n\r\n"),
		"an evil redirect":              say("HTTP/1.1 302 Found\r\nLocation: https://" + evil + "/" + evil + "\r\nContent-Length: 0\r\n\r\n"),
		"evil lines":                    say(strings.Repeat(evil+"\n", 100)),
		"an evil refusal":               say("HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\n" + evil + strings.Repeat("x", 100)),
		"an evil header that is broken": say("HTTP/1.1 200 OK\r\n" + evil + strings.Repeat("y", 10000) + "\r\n\r\n"),
	}
}

func TestProbeOfHostileServers(t *testing.T) {
	for name, answer := range hostileServers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			probeHostile(t, hostileTimeout, proxytest.NewRawServer(t, answer).Addr)
		})
	}
}

func TestProbeOfHostileServersBehindTLS(t *testing.T) {
	for name, answer := range hostileServers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener := proxytest.Listen(t, "")
			config := proxytest.Serving(proxytest.SelfSigned(t, listener.Addr().String()))
			proxytest.ServeRaw(t, listener, func(conn net.Conn) { answer(tls.Server(conn, config)) })
			probeHostile(t, hostileTimeout, "https://"+listener.Addr().String())
		})
	}
}

func TestProbeOfHostileCertificates(t *testing.T) {
	names := func(n int, name string) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf(name, i))
		}
		return all
	}
	for name, c := range map[string]struct {
		subject pkix.Name
		names   []string
		prints  string
	}{
		"8,000 names":          {pkix.Name{CommonName: "many"}, names(8000, "n%d.lan"), "and 7990 more"},
		"long names":           {pkix.Name{CommonName: strings.Repeat("c", 5000)}, names(20, strings.Repeat("n", 3000)+"%d.lan"), "and 10 more"},
		"an evil subject":      {pkix.Name{CommonName: evil, Organization: []string{"a\nb", evil}}, names(1, "app%d.lan"), `\x1b]0\;owned`},
		"evil names":           {pkix.Name{CommonName: "evil"}, []string{"a\x1b[31m.lan", "b\n}\nfile_server", "{env.HOME}", "c.lan"}, `a\x1b[31m.lan`},
		"none but evil names":  {pkix.Name{CommonName: "evil"}, []string{"{env.HOME}", "a b", "*.lan"}, "{env.HOME}"},
		"many parts of a name": {pkix.Name{OrganizationalUnit: names(1000, "unit%d")}, nil, "…"},
	} {
		for by, authority := range map[string]*proxytest.Authority{"self-signed": nil, "trusted": trustedCA} {
			t.Run(name+", "+by, func(t *testing.T) {
				t.Parallel()
				cert := authority.Sign(t, &x509.Certificate{
					Subject: c.subject, DNSNames: c.names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
				})
				listener := proxytest.Listen(t, "")
				proxytest.Serve(t, listener, proxytest.Serving(cert))
				output := probeHostile(t, probeTimeout, "https://"+listener.Addr().String())
				if !strings.Contains(output, c.prints) {
					t.Errorf("%q is missing in\n%s", c.prints, output)
				}
				if _, lines, _ := strings.Cut(output, "proxyos {"); strings.Contains(lines, "{env") || strings.Contains(lines, "file_server") {
					t.Errorf("the certificate writes the Caddyfile:\n%s", lines)
				}
			})
		}
	}
}

// A chain whose certificates fit together in many ways takes long to check. Checking it for each
// of 200 names would take half a minute.
func TestProbeOfAChainThatIsHardToVerify(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(serial int64, authority bool, names []string, ips ...net.IP) []byte {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "same"}, DNSNames: names, IPAddresses: ips,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: authority, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: template.Subject}, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("n%d.lan", i))
	}
	var chain [][]byte
	for i := range int64(90) {
		chain = append(chain, sign(i+2, true, nil))
	}
	listener, other := proxytest.Listen(t, ""), proxytest.Listen(t, "")
	for name, served := range map[string]struct {
		listener net.Listener
		leaf     []byte
	}{
		"with a wrong name":   {listener, sign(1, false, names)},
		"with its right name": {other, sign(1, false, names, other.Addr().(*net.TCPAddr).IP)},
	} {
		t.Run(name, func(t *testing.T) {
			cert := tls.Certificate{Certificate: append([][]byte{served.leaf}, chain...), PrivateKey: key}
			proxytest.Serve(t, served.listener, proxytest.Serving(cert))
			probeHostile(t, hostileTimeout, "https://"+served.listener.Addr().String())
		})
	}
}

// hostileTimeout is short, since many hostile servers never end.
const hostileTimeout = 400 * time.Millisecond

// probeHostile probes a hostile server, for people and for scripts. It checks that the probe ends
// in time, and prints at most a few pages and nothing that a terminal would obey. It returns what
// was printed for people.
func probeHostile(t *testing.T, timeout time.Duration, address string) (output string) {
	t.Helper()
	for _, format := range []string{"--json=false", "--json"} {
		start := time.Now()
		printed, _ := runCommand(probeCommand(), "--timeout", timeout.String(), format, address)
		if took := time.Since(start); took > timeout+2*time.Second { // on a busy machine
			t.Errorf("took %v, with a time-out of %v", took, timeout)
		}
		if len(printed) > 16<<10 {
			t.Errorf("prints %d bytes", len(printed))
		}
		for line := range strings.Lines(printed) {
			line = strings.TrimSuffix(line, "\n")
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
				t.Errorf("prints %q", line)
			}
			if len([]rune(line)) > 400 && format == "--json=false" {
				t.Errorf("prints a line of %d characters", len([]rune(line)))
			}
		}
		if format == "--json" {
			var reports []map[string]any
			if err := json.Unmarshal([]byte(printed), &reports); err != nil || len(reports) != 1 || reports[0]["verdict"] == nil {
				t.Errorf("%v: %s", err, printed)
			}
			continue
		}
		output = printed
	}
	t.Log("\n" + output)
	return output
}
