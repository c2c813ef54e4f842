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

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

const somePin = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestPinsThatWouldNotBeLookedAtAreRefused(t *testing.T) {
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
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
		switch {
		case want == "" && (err != nil || !strings.Contains(string(config), `"tls_pins":["`+somePin)):
			t.Errorf("%s: %v\n%s", lines, err, config)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:4")):
			t.Errorf("%s: %v, want %q with file and line", lines, err, want)
		}
	}
}

// swappableServer is an HTTPS server whose certificate can be exchanged, and that counts
// the requests it has served with each.
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
	s.served[labPin(cert)] = count
	s.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count.Add(1)
			labHandler(w, r)
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		ErrorLog:  quietLog,
	}
	server := s.server
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
}

// swap restarts the server with another certificate: all connections end.
func (s *swappableServer) swap(t *testing.T, cert tls.Certificate) {
	t.Helper()
	_ = s.server.Close()
	listener, err := net.Listen("tcp", s.address)
	for range 50 {
		if err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
		listener, err = net.Listen("tcp", s.address)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, cert, listener)
	time.Sleep(50 * time.Millisecond) // for the ends of idle connections to arrive
}

func (s *swappableServer) servedWith(cert tls.Certificate) int64 {
	return s.served[labPin(cert)].Load()
}

// underLoad makes requests from several clients until it is stopped, and counts the
// statuses.
func (c *labCaddy) underLoad(stop <-chan struct{}) (wait func() map[int]int) {
	var group sync.WaitGroup
	var mu sync.Mutex
	statuses := make(map[int]int)
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status := 0
				if res, err := c.client.Get("http://" + c.address + "/"); err == nil {
					status = res.StatusCode
					_ = res.Body.Close()
				}
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	return func() map[int]int { group.Wait(); return statuses }
}

func TestPinnedCertificateExchangedUnderLoad(t *testing.T) {
	for _, scheme := range []string{"https://", ""} { // chain checked otherwise, and not
		port := 0
		if scheme == "" {
			port = 8443
		}
		t.Run("one pin: none goes to the impostor, "+scheme, func(t *testing.T) {
			listener := labListen(t, port)
			address := listener.Addr().String()
			original, impostor := labCertFor(t, nil, address), labCertFor(t, &labTrusted, address) // trusted, and yet refused
			server := newSwappableServer(t, original, listener)
			caddy := runLabCaddy(t, "proxyos {\nname lab\nupstream "+scheme+address+" {\ntls_pin "+labPin(original)+"\n}\n}")

			stop := make(chan struct{})
			wait := caddy.underLoad(stop)
			time.Sleep(300 * time.Millisecond)
			server.swap(t, impostor)
			time.Sleep(300 * time.Millisecond)
			close(stop)
			statuses := wait()
			if server.servedWith(original) == 0 || statuses[502] == 0 {
				t.Errorf("the test had no load: %v", statuses)
			}
			if n := server.servedWith(impostor); n != 0 {
				t.Errorf("%d requests went to the impostor", n)
			}
			if status, body := caddy.get(t); status != 502 || body != "" {
				t.Errorf("after the exchange: status %d, body %q", status, body)
			}
			if hints := caddy.hints(t); !strings.Contains(hints, "its certificate is not pinned") || !strings.Contains(hints, labPin(impostor)) {
				t.Errorf("logged hints %q", hints)
			}
			for _, entry := range caddy.logged(t, "err_id") {
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
		listener := labListen(t, 0)
		address := listener.Addr().String()
		before, after := labCertFor(t, nil, address), labCert(t, nil, -2*time.Hour, -time.Hour, "other.name") // expired, another name
		var isAfter atomic.Bool
		var handshakes [2]atomic.Int64
		labServe(t, listener, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if isAfter.Load() {
				handshakes[1].Add(1)
				return &after, nil
			}
			handshakes[0].Add(1)
			return &before, nil
		}})
		// without idle connections, so that nearly every request makes a handshake
		caddy := runLabCaddy(t, "proxyos {\nupstream https://"+address+" {\ntls_pin "+labPin(before)+"\ntls_pin "+labPin(after)+"\n}\ntransport http {\nkeepalive off\n}\n}")

		stop := make(chan struct{})
		wait := caddy.underLoad(stop)
		time.Sleep(200 * time.Millisecond)
		isAfter.Store(true)
		time.Sleep(300 * time.Millisecond)
		close(stop)
		statuses := wait()
		if len(statuses) != 1 || statuses[200] == 0 {
			t.Errorf("statuses %v, want 200 alone", statuses)
		}
		if handshakes[0].Load() < 2 || handshakes[1].Load() < 2 {
			t.Error("the test had no load on both certificates")
		}
		t.Logf("%d handshakes before, %d after; statuses %v", handshakes[0].Load(), handshakes[1].Load(), statuses)
	})
}

func TestPinIsRefusedWithHTTP3(t *testing.T) {
	backends, err := resolve([]Upstream{{Address: "https://app:3000", TLSPins: []string{somePin}}}, nil, defaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	base := &reverseproxy.HTTPTransport{Versions: []string{"3"}}
	if _, err := laneConfig(base, backends[0]); err == nil || !strings.Contains(err.Error(), "versions 3") {
		t.Errorf("error %v", err)
	}
}
