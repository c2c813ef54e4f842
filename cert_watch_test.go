package proxyos

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"sync/atomic"
	"testing"

	caddyserver "github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestUncheckedCertificateIsWatched(t *testing.T) {
	listener := proxytest.ListenPort(t, 8006)
	address := listener.Addr().String()
	first, second := proxytest.SelfSigned(t, address), trustedCA.Issue(t, address)
	server := newSwappableServer(t, first, listener)
	directives := "proxyos " + address + " {\nname lab\n}"
	caddy := runCaddy(t, directives)
	get := func() {
		t.Helper()
		if status, body := caddy.Get("/"); status != 200 || body != proxytest.Greeting {
			t.Fatalf("status %d, body %q", status, body)
		}
	}

	get()
	get()
	entries := caddy.Logs.EntriesWith("would_verify")
	if len(entries) != 1 {
		t.Fatalf("%d certificates noted, want one", len(entries))
	}
	if e := entries[0]; e["level"] != "info" || e["sha256"] != proxytest.PinOf(first) || e["subject"] != "CN=upstream" || e["self_signed"] != true ||
		e["would_verify"] != false || e["upstream"] != address || e["route"] != "lab" {
		t.Errorf("noted %v", e)
	}

	server.replace(t, caddy, second)
	if entries = caddy.Logs.EntriesWith("would_verify"); len(entries) != 2 {
		t.Fatalf("%d certificates noted, want the second, too", len(entries))
	}
	if e := entries[1]; e["level"] != "warn" || e["sha256"] != proxytest.PinOf(second) || e["sha256_before"] != proxytest.PinOf(first) || e["would_verify"] != true ||
		!strings.Contains(e["msg"].(string), "has changed") {
		t.Errorf("warned %v", e)
	}

	caddy.reload("header X-Reloaded yes\n" + directives)
	get()
	if n := len(caddy.Logs.EntriesWith("would_verify")); n != 2 {
		t.Errorf("%d certificates noted, after a reload with the same one", n)
	}
}

func TestAReplacementDuringAReloadIsNoticed(t *testing.T) {
	listener := proxytest.ListenPort(t, 8006)
	address := listener.Addr().String()
	server := newSwappableServer(t, proxytest.SelfSigned(t, address), listener)
	directives := "proxyos " + address
	caddy := runCaddy(t, directives)
	caddy.Get("/")
	caddy.reload("header X-Reloaded yes\n" + directives)
	server.replace(t, caddy, proxytest.SelfSigned(t, address))
	if entries := caddy.Logs.EntriesWith("would_verify"); len(entries) != 2 || entries[1]["level"] != "warn" {
		t.Errorf("a replacement during a reload goes unnoticed: %v", entries)
	}
}

func TestManyCertificatesBehindOneNameAreNotAnAlarmEach(t *testing.T) {
	address := labManyCertificates(t, 20)
	caddy := runCaddy(t, "proxyos "+address+" {\nname lab\ntransport http {\nkeepalive off\n}\n}")
	for range 100 {
		caddy.Get("/")
	}
	entries := caddy.Logs.EntriesWith("would_verify")
	if len(entries) != 2 || entries[0]["level"] != "info" || entries[1]["level"] != "warn" || entries[1]["changes"] != 1.0 {
		t.Errorf("100 connections to 20 certificates are noted as %v, want the first and its first change", entries)
	}
	many := caddy.Logs.EntriesWith("remembered")
	if len(many) != 1 || many[0]["remembered"] != 16.0 || many[0]["upstream"] != address || many[0]["route"] != "lab" {
		t.Errorf("noted as many: %v", many)
	}
	if err := caddyserver.Stop(); err != nil {
		t.Fatal(err)
	}
	if entries = caddy.Logs.EntriesWith("would_verify"); len(entries) != 3 || entries[2]["changes"].(float64) < 15 {
		t.Errorf("what was not reported yet is not when Caddy ends: %v", entries[2:])
	}
}

// labManyCertificates serves HTTPS on a detected port, and shows n certificates in turn.
func labManyCertificates(t *testing.T, n int) (address string) {
	listener := proxytest.ListenPort(t, 8006)
	address = listener.Addr().String()
	all := make([]tls.Certificate, n)
	for i := range all {
		all[i] = proxytest.SelfSigned(t, address)
	}
	var shown atomic.Int64
	proxytest.Serve(t, listener, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &all[int(shown.Add(1)-1)%n], nil
	}})
	return address
}

func TestWatchedUpstreamsDoNotShareOne(t *testing.T) {
	one, two := proxytest.Listen(t, ""), proxytest.Listen(t, "")
	proxytest.Serve(t, one, proxytest.Serving(proxytest.SelfSigned(t, one.Addr().String())))
	proxytest.Serve(t, two, proxytest.Serving(proxytest.SelfSigned(t, two.Addr().String())))
	caddy := runCaddy(t, "proxyos https://"+one.Addr().String()+" https://"+two.Addr().String()+" {\nskip_tls_verify\n}")
	for range 4 {
		caddy.Get("/")
	}
	entries := caddy.Logs.EntriesWith("would_verify")
	if len(entries) != 2 || entries[0]["level"] != "info" || entries[1]["level"] != "info" {
		t.Errorf("noted %v, want one certificate of each", entries)
	}
}

func TestCertificateOf(t *testing.T) {
	watch := new(certs.Watch)
	transport := &transport{certs: &certWatchers{byDial: map[string]*certs.Watch{"pve:8006": watch}}}
	if _, ok := transport.certificateOf("pve:8006"); ok {
		t.Error("a certificate before the first handshake")
	}
	cert := proxytest.SelfSigned(t, "127.0.0.1:1")
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	watch.Attach(func(certs.Report) {}).Observe([]*x509.Certificate{leaf}, "127.0.0.1", nil)
	if shown, ok := transport.certificateOf("pve:8006"); !ok || shown.SHA256 != proxytest.PinOf(cert) || !shown.SelfSigned || shown.Verifies {
		t.Errorf("%v %+v", ok, shown)
	}
	if _, ok := transport.certificateOf("other:8006"); ok {
		t.Error("a certificate of an upstream that is not watched")
	}
}

func TestCleanupSurvivesAnUnfinishedProvision(t *testing.T) {
	if err := new(Handler).Cleanup(); err != nil {
		t.Error(err)
	}
}
