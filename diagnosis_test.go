package proxyos

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/probe"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestHintIsLoggedOnceAMinuteForEachUpstream(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	now := time.Now()
	d := newDiagnostician("lab", zap.New(core))
	d.now = func() time.Time { return now }
	fail := func(dial string) {
		a, _ := address.Parse(dial)
		d.log(backend{dial: dial, address: a}, diagnose.Closed, "the hint", io.EOF)
	}
	for range 100 {
		fail("one:80")
		fail("two:80")
	}
	if logs.Len() != 2 {
		t.Errorf("%d lines within a minute, want one for each upstream", logs.Len())
	}
	d.log(backend{dial: "one:80"}, diagnose.NotPinned, "another hint", io.EOF)
	if logs.TakeAll(); len(d.logged) != 3 {
		t.Error("another cause was not logged at once")
	}
	now = now.Add(hintInterval - time.Millisecond)
	fail("one:80")
	if logs.Len() != 0 {
		t.Error("logged again before the minute was over")
	}
	now = now.Add(time.Millisecond)
	fail("one:80")
	if logs.Len() != 1 {
		t.Error("not logged again after the minute")
	}
	fields := logs.All()[0].ContextMap()
	if fields["hint"] != "the hint" || fields["upstream"] != "one:80" || fields["route"] != "lab" {
		t.Errorf("fields %v", fields)
	}
	for i := range 3 * maxHints {
		fail(fmt.Sprintf("dynamic:%d", i))
	}
	if len(d.logged) > maxHints {
		t.Errorf("%d upstreams are remembered", len(d.logged))
	}
}

func TestNoSuchHost(t *testing.T) {
	server := proxytest.NewNameServer(t).Addr
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server)
	}}
	backends, err := resolve([]Upstream{{Address: "app.invalid:3000"}}, nil, defaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	report := probeBackend(t.Context(), backends[0], &probe.Prober{Timeout: 2 * time.Second, Resolver: resolver}, io.Discard)
	if report.Works || report.Cause != diagnose.NoSuchHost || !strings.Contains(report.Verdict, "if they share a network") {
		t.Errorf("the probe says %+v", report)
	}

	caddy := runCaddy(t, "proxyos app.invalid:3000 {\ntransport http {\nresolvers "+server+"\n}\n}")
	if status, body := caddy.Get("/"); status != 502 || body != "" {
		t.Errorf("status %d, body %q", status, body)
	}
	if hints := caddy.hints(); !strings.Contains(hints, `the name "app.invalid" does not resolve here`) {
		t.Errorf("logged hints %q", hints)
	}
}

func TestHandleErrorsSeesTheHint(t *testing.T) {
	address := proxytest.Refused(t)
	caddy := runCaddy(t, "proxyos "+address+"\nhandle_errors {\nrespond \"{err.status_code} {err.message}\"\n}")
	if _, body := caddy.Get("/"); !strings.Contains(body, "connection refused; hint: nothing listens there") {
		t.Errorf("handle_errors sees %q", body)
	}
}

func TestRetriesAreTheSameWithHints(t *testing.T) {
	good := proxytest.Listen(t, "")
	proxytest.Serve(t, good, nil)
	caddy := runCaddy(t, "proxyos "+proxytest.Refused(t)+" "+good.Addr().String()+" {\nfail_duration 0\n}")
	for range 10 {
		res, err := caddy.Client.Post(caddy.URL, "text/plain", strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("status %d: a refused connection was not retried elsewhere", res.StatusCode)
		}
	}
	if entries := caddy.Logs.EntriesWith("hint"); len(entries) != 1 {
		t.Errorf("%d hints logged, want one", len(entries))
	}
}

func TestHealthChecksGiveHintsToo(t *testing.T) {
	listener := proxytest.Listen(t, "")
	cert := proxytest.SelfSigned(t, listener.Addr().String())
	var handshakes atomic.Int64
	proxytest.Serve(t, listener, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		handshakes.Add(1)
		return &cert, nil
	}})
	caddy := runCaddy(t, "proxyos https://"+listener.Addr().String()+" {\nhealth_uri /\nhealth_interval 50ms\n}")
	proxytest.Eventually(t, "several checks fail", func() bool { return handshakes.Load() >= 4 })
	entries := caddy.Logs.EntriesWith("hint")
	if len(entries) != 1 || !strings.Contains(entries[0]["hint"].(string), "self-signed") || entries[0]["upstream"] != "https://"+listener.Addr().String() {
		t.Errorf("logged %v, want one hint", entries)
	}
}

func TestHintForAnUpstreamOfWhichNothingIsKnown(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	d := newDiagnostician("", zap.New(core))
	g := &group{byPort: &portLanes{other: &lane{urlScheme: address.HTTPS}}}
	known := g.targetOf(&reverseproxy.Upstream{Dial: "10.0.0.1:80"}).backend
	if err := d.explain(known, tls.RecordHeaderError{RecordHeader: [5]byte([]byte("HTTP/"))}); !strings.Contains(err.Error(), "it answers in plain HTTP, but Caddy speaks HTTPS to it; write http://") {
		t.Error(err)
	}
	if logs.Len() != 1 {
		t.Errorf("%d lines", logs.Len())
	}
}
