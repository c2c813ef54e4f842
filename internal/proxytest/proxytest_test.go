package proxytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// trusted is declared as a test's package does it, before anything is verified.
var trusted = TrustedAuthority()

func TestNoAddressIsGivenTwice(t *testing.T) {
	seen := make(map[string]bool)
	for range 300 {
		for _, addr := range []string{FreeAddr(t), Listen(t, "").Addr().String(), Refused(t)} {
			if seen[addr] {
				t.Fatalf("%s was given twice", addr)
			}
			seen[addr] = true
		}
	}
}

func TestABlockOfPortsIsForOneHolderOnly(t *testing.T) {
	var one, other portTurns
	for range blocksEach {
		if !one.takeBlock() || !other.takeBlock() {
			t.Fatal("no block of ports is free; are many test processes running?")
		}
	}
	for _, p := range []*portTurns{&one, &other} {
		for _, block := range p.blocks {
			t.Cleanup(func() { _ = block.Close() })
		}
	}
	taken := make(map[int]bool)
	for _, port := range append(one.free, other.free...) {
		if taken[port] {
			t.Fatalf("port %d is in a block of both", port)
		}
		taken[port] = true
	}
}

func TestListenersOfTheSamePortHaveDifferentAddresses(t *testing.T) {
	one, other := ListenPort(t, 8006), ListenPort(t, 8006)
	if one.Addr().String() == other.Addr().String() || PortOf(t, one.Addr().String()) != "8006" || PortOf(t, other.Addr().String()) != "8006" {
		t.Errorf("got %s and %s", one.Addr(), other.Addr())
	}
}

func TestNobodyAnswers(t *testing.T) {
	if _, err := net.Dial("tcp", Refused(t)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refusal", err)
	}
	_, err := net.DialTimeout("tcp", BlackHole(t), 100*time.Millisecond)
	if failure, ok := errors.AsType[net.Error](err); !ok || !failure.Timeout() {
		t.Errorf("got %v, want a time-out", err)
	}
}

func TestCertificatesAreWhatTheyAreMadeFor(t *testing.T) {
	authority := NewAuthority(t)
	for _, c := range []struct {
		name  string
		made  tls.Certificate
		roots *x509.CertPool
		valid bool
	}{
		{"signed", authority.Issue(t, "app.lan", "127.0.0.1:8443", "::1"), authority.Pool(), true},
		{"self-signed", SelfSigned(t, "app.lan", "127.0.0.1", "::1"), authority.Pool(), false},
		{"trusted by the system", trusted.Issue(t, "app.lan", "127.0.0.1", "::1"), nil, true},
		{"not trusted by the system", authority.Issue(t, "app.lan", "127.0.0.1", "::1"), nil, false},
		{"expired", authority.IssueFor(t, -2*time.Hour, -time.Hour, "app.lan", "127.0.0.1", "::1"), authority.Pool(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, host := range []string{"app.lan", "127.0.0.1", "::1"} {
				if err := c.made.Leaf.VerifyHostname(host); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.made.Leaf.Verify(x509.VerifyOptions{Roots: c.roots}); (err == nil) != c.valid {
				t.Errorf("verified: %v", err)
			}
			certFile, keyFile := WriteCertificate(t, c.made)
			read, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil || PinOf(read) != PinOf(c.made) {
				t.Errorf("written and read: %v", err)
			}
		})
	}
	if content, err := os.ReadFile(authority.File); err != nil || string(content) != string(EncodeCertificate(authority.Certificate.Raw)) {
		t.Errorf("the authority's file has %q, %v", content, err)
	}
}

func TestASniffingServerSpeaksHTTPSAndAnswersOthers(t *testing.T) {
	listener := Listen(t, "")
	ServeSniffing(t, listener, Serving(SelfSigned(t, "127.0.0.1")), "go away")
	res, err := NewClient(t).Get("https://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != Greeting {
		t.Errorf("in HTTPS it answers %q", body)
	}
	c := Dial(t, listener.Addr().String())
	c.Send("GET / HTTP/1.1\r\n")
	if got, err := c.ReadAll(); got != "go away" || err != nil {
		t.Errorf("in HTTP it answers %q, %v", got, err)
	}
}

func TestABackendComesBackWithItsNewCertificate(t *testing.T) {
	b := Untrusted(t, "app", "")
	next := SelfSigned(t, b.Addr)
	b.Stop()
	b.TLS = Serving(next)
	b.Start()
	res, err := NewClient(t).Get("https://" + b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "app" || !res.TLS.PeerCertificates[0].Equal(next.Leaf) {
		t.Errorf("got %q from %v", body, res.TLS.PeerCertificates[0].Subject)
	}
	if last := b.Last(); b.Requests.Load() != 1 || last.Method != http.MethodGet {
		t.Errorf("the backend has seen %d requests, and %v", b.Requests.Load(), last)
	}
}

func TestTheNameServerKnowsItsRecordsAndNoOthers(t *testing.T) {
	server := NewNameServer(t, "app.test. 0 IN A 127.0.0.2")
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.Addr)
	}}
	if got, err := resolver.LookupHost(t.Context(), "app.test."); err != nil || len(got) != 1 || got[0] != "127.0.0.2" {
		t.Errorf("got %v, %v", got, err)
	}
	_, err := resolver.LookupHost(t.Context(), "other.test.")
	if failure, ok := errors.AsType[*net.DNSError](err); !ok || !failure.IsNotFound {
		t.Errorf("of another name: %v, want that there is none", err)
	}
	if server.Asked("app.test") != 1 || server.Asked("other.test") != 1 {
		t.Errorf("asked %d and %d times, want once each", server.Asked("app.test"), server.Asked("other.test"))
	}
}

func TestTheLogbookFindsEntries(t *testing.T) {
	var l Logbook
	_, _ = io.WriteString(&l, "not JSON\n{\"msg\":\"one\",\"hint\":\"h\"}\n{\"msg\":\"another\"}\n")
	if n := len(l.Entries("one")); n != 1 {
		t.Errorf("%d entries", n)
	}
	if n := len(l.Entries("")); n != 2 {
		t.Errorf("%d entries of any text", n)
	}
	if found := l.EntriesWith("hint"); len(found) != 1 || found[0]["msg"] != "one" {
		t.Errorf("with a hint: %v", found)
	}
	if l.Forget(); l.String() != "" {
		t.Error("it does not forget")
	}
}

func TestCanonical(t *testing.T) {
	if got := Canonical(t, "{ \"b\": 1,\n\"a\": [ ] }"); got != `{"a":[],"b":1}` {
		t.Error(got)
	}
}
