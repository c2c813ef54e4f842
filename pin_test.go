package proxyos

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

const somePin = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestPinsThatWouldHaveNoEffectAreRejected(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name     string
		upstream Upstream
		group    *bool
		route    *bool
		want     string
	}{
		{"on HTTPS", Upstream{Address: "https://app:3000"}, nil, nil, ""},
		{"on a detected port", Upstream{Address: "pve:8006"}, nil, nil, ""},
		{"with skip_tls_verify off", Upstream{Address: "pve:8006", SkipTLSVerify: &no}, nil, nil, ""},
		{"with skip_tls_verify off against the route's", Upstream{Address: "pve:8006", SkipTLSVerify: &no}, nil, &yes, ""},
		{"on HTTP", Upstream{Address: "app:3000"}, nil, nil, "speaks HTTP, since it has no scheme and no well-known HTTPS port; write https://app:3000"},
		{"on http:// and a detected port", Upstream{Address: "http://pve:8006"}, nil, nil, "speaks HTTP, since the address says so; write https://pve:8006"},
		{"on a range that is partly HTTP", Upstream{Address: "h:8442-8443"}, nil, nil, "write https://h:8442"},
		{"with its own skip_tls_verify", Upstream{Address: "pve:8006", SkipTLSVerify: &yes}, nil, nil, "pinned but not checked, since the upstream's skip_tls_verify says so"},
		{"with its group's", Upstream{Address: "pve:8006"}, &yes, nil, "since its group's skip_tls_verify says so"},
		{"with the route's", Upstream{Address: "pve:8006"}, nil, &yes, "since the route's skip_tls_verify says so; remove that, or write `skip_tls_verify off`"},
		{"malformed", Upstream{Address: "pve:8006", TLSPins: []string{"abc"}}, nil, nil, "not hexadecimal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.upstream.TLSPins == nil {
				c.upstream.TLSPins = []string{somePin}
			}
			options := defaultOptions()
			options.skipTLSVerify = c.route
			backends, err := resolve([]Upstream{c.upstream}, c.group, options)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want == "" && (!backends[0].verify || backends[0].verifyReason != becauseOfPin && backends[0].verifyReason != becauseOfUpstream):
				t.Errorf("verify %v, since %s", backends[0].verify, backends[0].verifyReason)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestPinInTheCaddyfile(t *testing.T) {
	for lines, want := range map[string]string{
		"tls_pin " + somePin: "",
		"tls_pin " + somePin + " " + strings.ToUpper(somePin):           "",
		"tls_pin " + somePin + "\ntls_pin " + strings.Repeat("AB:", 32): "",
		"tls_pin":     "wrong argument count",
		"tls_pin abc": "not hexadecimal",
	} {
		source := "http://localhost:1 {\nproxyos {\nupstream pve:8006 {\n" + lines + "\n}\n}\n}"
		config, err := proxytest.AdaptCaddyfile(source)
		switch {
		case want == "" && (err != nil || !strings.Contains(string(config), `"tls_pins":["`+somePin)):
			t.Errorf("%s: %v\n%s", lines, err, config)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:4")):
			t.Errorf("%s: %v, want %q with file and line", lines, err, want)
		}
	}
}

// swappableServer is an HTTPS server whose certificate can be replaced. It counts the requests
// that it has served with each.
type swappableServer struct {
	address string
	server  *http.Server
	served  map[string]*atomic.Int64 // by SHA-256 of the certificate
}

func newSwappableServer(t *testing.T, cert tls.Certificate, listener net.Listener) *swappableServer {
	s := &swappableServer{address: listener.Addr().String(), served: make(map[string]*atomic.Int64)}
	s.serve(t, cert, listener)
	return s
}

func (s *swappableServer) serve(t *testing.T, cert tls.Certificate, listener net.Listener) {
	count := new(atomic.Int64)
	s.served[proxytest.PinOf(cert)] = count
	s.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count.Add(1)
			proxytest.Greet(w, r)
		}),
		TLSConfig: proxytest.Serving(cert),
	}
	proxytest.StartServer(t, listener, s.server)
}

// swap restarts the server with another certificate: all connections end.
func (s *swappableServer) swap(t *testing.T, cert tls.Certificate) {
	t.Helper()
	_ = s.server.Close()
	s.serve(t, cert, proxytest.Listen(t, s.address))
}

// replace replaces the certificate, and waits until the site's requests reach the new server:
// one may still be sent on a connection to the old server, and fail.
func (s *swappableServer) replace(t *testing.T, caddy labCaddy, cert tls.Certificate) {
	t.Helper()
	s.swap(t, cert)
	proxytest.Eventually(t, "the new server answers", func() bool { status, _ := caddy.Get("/"); return status == http.StatusOK })
}

func (s *swappableServer) servedWith(cert tls.Certificate) int64 {
	return s.served[proxytest.PinOf(cert)].Load()
}

// load is several clients that make requests until they are stopped.
type load struct {
	stopped atomic.Bool
	clients sync.WaitGroup

	mu       sync.Mutex
	statuses map[int]int
}

// underLoad starts clients.
func (c labCaddy) underLoad() *load {
	l := &load{statuses: make(map[int]int)}
	for range 4 {
		l.clients.Go(func() {
			for !l.stopped.Load() {
				status := 0
				if res, err := c.Client.Get(c.URL); err == nil {
					status = res.StatusCode
					_ = res.Body.Close()
				}
				l.mu.Lock()
				l.statuses[status]++
				l.mu.Unlock()
			}
		})
	}
	return l
}

// seen returns how often there has been a status so far.
func (l *load) seen(status int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.statuses[status]
}

// stop ends the clients and returns how often there has been each status.
func (l *load) stop() map[int]int {
	l.stopped.Store(true)
	l.clients.Wait()
	return l.statuses
}

func TestPinnedCertificateReplacedUnderLoad(t *testing.T) {
	for _, scheme := range []string{"https://", ""} { // with the chain checked otherwise, and not checked
		listen := func(t *testing.T) net.Listener { return proxytest.Listen(t, "") }
		if scheme == "" {
			listen = func(t *testing.T) net.Listener { return proxytest.ListenPort(t, 8443) }
		}
		t.Run("one pin: none goes to the impostor, "+scheme, func(t *testing.T) {
			listener := listen(t)
			address := listener.Addr().String()
			original, impostor := proxytest.SelfSigned(t, address), trustedCA.Issue(t, address) // trusted, but rejected
			server := newSwappableServer(t, original, listener)
			caddy := runCaddy(t, "proxyos {\nname lab\nupstream "+scheme+address+" {\ntls_pin "+proxytest.PinOf(original)+"\n}\n}")

			load := caddy.underLoad()
			defer load.stop()
			proxytest.Eventually(t, "the original serves", func() bool { return server.servedWith(original) >= 200 })
			server.swap(t, impostor)
			before := load.seen(502)
			proxytest.Eventually(t, "the impostor is rejected", func() bool { return load.seen(502) >= before+200 })
			statuses := load.stop()
			if n := server.servedWith(impostor); n != 0 {
				t.Errorf("%d requests went to the impostor", n)
			}
			if status, body := caddy.Get("/"); status != 502 || body != "" {
				t.Errorf("after the replacement: status %d, body %q", status, body)
			}
			if hints := caddy.hints(); !strings.Contains(hints, "its certificate is not pinned") || !strings.Contains(hints, proxytest.PinOf(impostor)) {
				t.Errorf("logged hints %q", hints)
			}
			for _, entry := range caddy.Logs.EntriesWith("err_id") {
				message, _ := entry["msg"].(string)
				if !strings.Contains(message, "not pinned") && !strings.Contains(message, "connection refused") &&
					!strings.Contains(message, "reset") && !strings.Contains(message, "EOF") && !strings.Contains(message, "broken pipe") && !strings.Contains(message, "force closed") {
					t.Errorf("an unclear line in the log: %q", message)
				}
			}
			t.Logf("%d served with the pinned certificate; statuses %v", server.servedWith(original), statuses)
		})
	}

	t.Run("two pins: none fails", func(t *testing.T) {
		listener := proxytest.Listen(t, "")
		address := listener.Addr().String()
		before, after := proxytest.SelfSigned(t, address), proxytest.SelfSignedFor(t, -2*time.Hour, -time.Hour, "other.name") // expired, another name
		var isAfter atomic.Bool
		var handshakes [2]atomic.Int64
		proxytest.Serve(t, listener, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if isAfter.Load() {
				handshakes[1].Add(1)
				return &after, nil
			}
			handshakes[0].Add(1)
			return &before, nil
		}})
		// without idle connections, so that nearly every request makes a handshake
		caddy := runCaddy(t, "proxyos {\nupstream https://"+address+" {\ntls_pin "+proxytest.PinOf(before)+"\ntls_pin "+proxytest.PinOf(after)+"\n}\ntransport http {\nkeepalive off\n}\n}")

		load := caddy.underLoad()
		defer load.stop()
		proxytest.Eventually(t, "the first certificate is shown", func() bool { return handshakes[0].Load() >= 100 })
		isAfter.Store(true)
		proxytest.Eventually(t, "the second certificate is shown", func() bool { return handshakes[1].Load() >= 100 })
		statuses := load.stop()
		if len(statuses) != 1 || statuses[200] == 0 {
			t.Errorf("statuses %v, want only 200", statuses)
		}
		t.Logf("%d handshakes before, %d after; statuses %v", handshakes[0].Load(), handshakes[1].Load(), statuses)
	})
}

func TestPinIsRejectedWithHTTP3(t *testing.T) {
	backends, err := resolve([]Upstream{{Address: "https://app:3000", TLSPins: []string{somePin}}}, nil, defaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	base := &reverseproxy.HTTPTransport{Versions: []string{"3"}}
	if _, err := laneConfig(base, backends[0]); err == nil || !strings.Contains(err.Error(), "versions 3") {
		t.Errorf("error %v", err)
	}
}
