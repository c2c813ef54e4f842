package proxyos

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/certs"
)

func TestUncheckedCertificateIsWatched(t *testing.T) {
	listener := labListen(t, 8006)
	address := listener.Addr().String()
	first, second := labCertFor(t, nil, address), labCertFor(t, &labTrusted, address)
	server := newSwappableServer(t, first, listener)
	directives := "proxyos " + address + " {\nname lab\n}"
	caddy := runLabCaddy(t, directives)
	get := func() {
		t.Helper()
		if status, body := caddy.get(t); status != 200 || body != labGreeting {
			t.Fatalf("status %d, body %q", status, body)
		}
	}

	get()
	get()
	entries := caddy.logged(t, "would_verify")
	if len(entries) != 1 {
		t.Fatalf("%d certificates noted, want one", len(entries))
	}
	if e := entries[0]; e["level"] != "info" || e["sha256"] != labPin(first) || e["subject"] != "CN=upstream" || e["self_signed"] != true ||
		e["would_verify"] != false || e["upstream"] != address || e["route"] != "lab" {
		t.Errorf("noted %v", e)
	}

	server.swap(t, second)
	get()
	if entries = caddy.logged(t, "would_verify"); len(entries) != 2 {
		t.Fatalf("%d certificates noted, want the second, too", len(entries))
	}
	if e := entries[1]; e["level"] != "warn" || e["sha256"] != labPin(second) || e["sha256_before"] != labPin(first) || e["would_verify"] != true ||
		!strings.Contains(e["msg"].(string), "has changed") {
		t.Errorf("warned %v", e)
	}

	caddy.load(t, "header X-Reloaded yes\n"+directives)
	get()
	if n := len(caddy.logged(t, "would_verify")); n != 2 {
		t.Errorf("%d certificates noted, after a reload with the same one", n)
	}
	caddy.load(t, "header X-Reloaded again\n"+directives)
	server.swap(t, labCertFor(t, nil, address))
	get()
	if entries = caddy.logged(t, "would_verify"); len(entries) != 3 || entries[2]["level"] != "warn" {
		t.Errorf("an exchange during a reload goes unnoticed: %v", entries)
	}
}

func TestWatchedUpstreamsDoNotShareOne(t *testing.T) {
	one, two := labListen(t, 0), labListen(t, 0)
	labServe(t, one, &tls.Config{Certificates: []tls.Certificate{labCertFor(t, nil, one.Addr().String())}})
	labServe(t, two, &tls.Config{Certificates: []tls.Certificate{labCertFor(t, nil, two.Addr().String())}})
	caddy := runLabCaddy(t, "proxyos https://"+one.Addr().String()+" https://"+two.Addr().String()+" {\nskip_tls_verify\n}")
	for range 4 {
		caddy.get(t)
	}
	entries := caddy.logged(t, "would_verify")
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
	cert := labCertFor(t, nil, "127.0.0.1:1")
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	watch.Observe([]*x509.Certificate{leaf}, "127.0.0.1", nil)
	if shown, ok := transport.certificateOf("pve:8006"); !ok || shown.SHA256 != labPin(cert) || !shown.SelfSigned || shown.Verifies {
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
