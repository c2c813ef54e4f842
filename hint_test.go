package proxyos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

type timeoutError struct{ timeout bool }

func (e timeoutError) Error() string   { return "i/o timeout" }
func (e timeoutError) Timeout() bool   { return e.timeout }
func (e timeoutError) Temporary() bool { return true }

func TestHintKeepsWhatTheErrorMeans(t *testing.T) {
	t.Run("a dial error stays one, and is no net.Error", func(t *testing.T) {
		inner := reverseproxy.NewDialError(timeoutError{true})
		err := withHint(inner, "the hint")
		if _, ok := errors.AsType[reverseproxy.DialError](err); !ok {
			t.Error("not a DialError any more: reverse_proxy would not retry")
		}
		if _, ok := err.(net.Error); ok {
			t.Error("a net.Error now: the status would change from 502 to 504")
		}
	})
	t.Run("a time-out stays one without unwrapping", func(t *testing.T) {
		for _, timeout := range []bool{true, false} {
			err, ok := withHint(timeoutError{timeout}, "the hint").(net.Error)
			if !ok || err.Timeout() != timeout {
				t.Errorf("%v: not the net.Error that it was", timeout)
			}
		}
	})
	t.Run("a canceled request gets no hint", func(t *testing.T) {
		if c := causeOf(fmt.Errorf("reading: %w", context.Canceled)); c != causeUnknown {
			t.Errorf("cause %q", c)
		}
	})
	t.Run("the text says both", func(t *testing.T) {
		if text := withHint(io.EOF, "the hint").Error(); text != "EOF; hint: the hint" {
			t.Error(text)
		}
	})
}

func TestCauseOfText(t *testing.T) {
	for text, want := range map[string]cause{
		"dial tcp: lookup app on 127.0.0.11:53: no such host":                               causeNoSuchHost,
		"dial tcp: lookup app: i/o timeout":                                                 causeNoResolver,
		"dial tcp: lookup app on 10.0.0.1:53: server misbehaving":                           causeNoResolver,
		"dial tcp 10.0.0.9:80: connect: connection refused":                                 causeRefused,
		"dial tcp 10.0.0.9:80: connectex: the target machine actively refused it.":          causeRefused,
		"dial tcp 10.0.0.9:80: connect: no route to host":                                   causeUnreachable,
		"dial tcp [fd00::1]:80: connect: network is unreachable":                            causeUnreachable,
		"dial tcp 10.0.0.9:80: i/o timeout":                                                 causeConnectTimeout,
		"remote error: tls: handshake failure":                                              causeHandshakeRefused,
		"remote error: tls: unrecognized name":                                              causeHandshakeRefused,
		"tls: server selected unsupported protocol version 301":                             causeOldTLS,
		"net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2\"": causeUnknown,
		"something else": causeUnknown,
	} {
		if got := causeOf(reverseproxy.NewDialError(errors.New(text))); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestHintIsLoggedOnceAMinuteForEachUpstream(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	now := time.Now()
	d := newDiagnostician("lab", zap.New(core))
	d.now = func() time.Time { return now }
	fail := func(dial string) {
		a, _ := address.Parse(dial)
		d.log(backend{dial: dial, address: a}, causeClosed, "the hint", io.EOF)
	}
	for range 100 {
		fail("one:80")
		fail("two:80")
	}
	if logs.Len() != 2 {
		t.Errorf("%d lines within a minute, want one for each upstream", logs.Len())
	}
	d.log(backend{dial: "one:80"}, causeNotPinned, "another hint", io.EOF)
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

func TestPeekLeavesTheBodyAsItWas(t *testing.T) {
	failure := errors.New("connection lost")
	long := strings.Repeat("x", 3*refusalSize)
	for _, c := range []struct {
		name   string
		res    http.Response
		body   io.Reader
		peeked bool
		want   string
		err    error
	}{
		{"of known length", http.Response{ContentLength: 5}, strings.NewReader("hello"), true, "hello", nil},
		{"longer than what is looked at", http.Response{ContentLength: int64(len(long))}, strings.NewReader(long), true, long, nil},
		{"too long", http.Response{ContentLength: 1 << 20}, strings.NewReader(long), false, long, nil},
		{"of unknown length until the connection closes", http.Response{ContentLength: -1, Close: true}, strings.NewReader("hello"), true, "hello", nil},
		{"of unknown length, a stream perhaps", http.Response{ContentLength: -1}, strings.NewReader("hello"), false, "hello", nil},
		{"empty", http.Response{ContentLength: 0}, strings.NewReader(""), false, "", nil},
		{"compressed", http.Response{ContentLength: 5, Header: http.Header{"Content-Encoding": {"gzip"}}}, strings.NewReader("hello"), false, "hello", nil},
		{"breaking off", http.Response{ContentLength: 9}, io.MultiReader(strings.NewReader("hello"), &rest{err: failure}), true, "hello", failure},
		{"broken from the start", http.Response{ContentLength: 9}, &rest{err: failure}, false, "", failure},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := false
			c.res.Body = &peekedBody{c.body, closerFunc(func() error { closed = true; return nil })}
			if beginning := peek(&c.res); (beginning != "") != c.peeked || !strings.HasPrefix(c.want, beginning) {
				t.Errorf("peeked at %q", beginning)
			}
			got, err := io.ReadAll(c.res.Body)
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("read %d bytes and %v, want %d and %v", len(got), err, len(c.want), c.err)
			}
			if _ = c.res.Body.Close(); !closed {
				t.Error("the body is not closed")
			}
		})
	}
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

func TestNoSuchHost(t *testing.T) {
	server := labNameServer(t)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server)
	}}
	backends, err := resolve([]Upstream{{Address: "app.invalid:3000"}}, nil, defaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	report := (&prober{backend: backends[0], timeout: 2 * time.Second, resolver: resolver}).report(t.Context(), io.Discard)
	if report.Works || report.Cause != causeNoSuchHost || !strings.Contains(report.Verdict, "containers on the same network") {
		t.Errorf("the probe says %+v", report)
	}

	caddy := runLabCaddy(t, "proxyos app.invalid:3000 {\ntransport http {\nresolvers "+server+"\n}\n}")
	if status, body := caddy.get(t); status != 502 || body != "" {
		t.Errorf("status %d, body %q", status, body)
	}
	if hints := caddy.hints(t); !strings.Contains(hints, `the name "app.invalid" does not resolve here`) {
		t.Errorf("logged hints %q", hints)
	}
}

func TestHandleErrorsSeesTheHint(t *testing.T) {
	address := labRefused(t)
	caddy := runLabCaddy(t, "proxyos "+address+"\nhandle_errors {\nrespond \"{err.status_code} {err.message}\"\n}")
	if _, body := caddy.get(t); !strings.Contains(body, "connection refused; hint: nothing listens there") {
		t.Errorf("handle_errors sees %q", body)
	}
}

func TestRetriesAreTheSameWithHints(t *testing.T) {
	good := labListen(t, 0)
	labServe(t, good, nil)
	caddy := runLabCaddy(t, "proxyos "+labRefused(t)+" "+good.Addr().String()+" {\nfail_duration 0\n}")
	for range 10 {
		res, err := caddy.client.Post("http://"+caddy.address+"/", "text/plain", strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("status %d: a refused connection was not retried elsewhere", res.StatusCode)
		}
	}
	if entries := caddy.logged(t, "hint"); len(entries) != 1 {
		t.Errorf("%d hints logged, want one", len(entries))
	}
}

func TestHealthChecksGiveHintsToo(t *testing.T) {
	listener := labListen(t, 0)
	cert := labCertFor(t, nil, listener.Addr().String())
	labServe(t, listener, &tls.Config{Certificates: []tls.Certificate{cert}})
	caddy := runLabCaddy(t, "proxyos https://"+listener.Addr().String()+" {\nhealth_uri /\nhealth_interval 50ms\n}")
	time.Sleep(300 * time.Millisecond)
	entries := caddy.logged(t, "hint")
	if len(entries) != 1 || !strings.Contains(entries[0]["hint"].(string), "self-signed") || entries[0]["upstream"] != "https://"+listener.Addr().String() {
		t.Errorf("logged %v, want one hint", entries)
	}
}

func TestHintForAnUpstreamOfWhichNothingIsKnown(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	d := newDiagnostician("", zap.New(core))
	if _, err := d.examine(target{leg: &leg{urlScheme: address.HTTPS}, dial: "10.0.0.1:80"}, nil, tls.RecordHeaderError{RecordHeader: [5]byte([]byte("HTTP/"))}); !strings.Contains(err.Error(), "it answers in plain HTTP but is spoken to in HTTPS; write http://") {
		t.Error(err)
	}
	if logs.Len() != 1 {
		t.Errorf("%d lines", logs.Len())
	}
}
