package integration

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// A placeholder that stands for the address of a pinned upstream must not undo the pin.
func TestAnAddressThatIsKnownAtLoadContradictsNone(t *testing.T) {
	pinned := untrusted(t, "pinned", "")
	host, port, _ := strings.Cut(pinned.Addr, ":")
	t.Setenv("PROXYOS_TEST_STAGING", host)
	t.Setenv("PROXYOS_TEST_BACKUP", pinned.Addr)
	pin := strings.Repeat("ab", 32)
	for name, c := range map[string]struct{ directives, handler string }{
		"staging of the same address": {
			"proxyos {\nupstream https://" + pinned.Addr + " {\ntls_pin " + pin + "\n}\nstaging {\nupstream {env.PROXYOS_TEST_STAGING}:" + port + " {\nskip_tls_verify\n}\n}\ntraffic_split 0\n}",
			`{"handler": "proxyos", "upstreams": [{"address": "https://` + pinned.Addr + `", "tls_pins": ["` + pin + `"]}], "traffic_split": 0,
				"staging": {"upstreams": [{"address": "{env.PROXYOS_TEST_STAGING}:` + port + `", "skip_tls_verify": true}]}}`,
		},
		"a backup of the same address": {
			"proxyos {\nupstream https://" + pinned.Addr + " {\ntls_pin " + pin + "\n}\nto {env.PROXYOS_TEST_BACKUP}\n}",
			`{"handler": "proxyos", "upstreams": [{"address": "https://` + pinned.Addr + `", "tls_pins": ["` + pin + `"]}, "{env.PROXYOS_TEST_BACKUP}"]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			for form, err := range map[string]error{"Caddyfile": s.Load(s.Site(c.directives)), "JSON": s.LoadJSON(s.Routes(c.handler))} {
				if err == nil || !strings.Contains(err.Error(), "it dials "+pinned.Addr+", like upstream") || !strings.Contains(err.Error(), "certificate pinned") {
					t.Errorf("%s: %v", form, err)
				}
			}
		})
	}
}

// What only a request decides is found out when it would be sent.
func TestAnAddressThatARequestDecidesContradictsNone(t *testing.T) {
	pinned := untrusted(t, "pinned", "")
	other := plain(t, "other", "")
	bothForms(t, "proxyos {\nname app\nupstream https://"+pinned.Addr+" {\ntls_pin "+strings.Repeat("ab", 32)+"\nweight 0\n}\nto {http.request.header.X-To}\n}", func(t *testing.T, s *server) {
		before := pinned.Requests.Load()
		ask := func(to string) int {
			req := s.Request("GET", "/", nil)
			req.Header.Set("X-To", to)
			res, err := s.Client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			return res.StatusCode
		}
		if status := ask(other.Addr); status != http.StatusOK {
			t.Errorf("another address gives %d", status)
		}
		for range 3 {
			if status := ask(pinned.Addr); status != http.StatusBadGateway {
				t.Errorf("the pinned upstream's address gives %d", status)
			}
		}
		if n := pinned.Requests.Load() - before; n != 0 {
			t.Errorf("%d requests reached the pinned upstream's server", n)
		}
		if entries := s.Logs.Entries("its upstream contradicts another one"); len(entries) != 1 || entries[0]["level"] != "error" {
			t.Errorf("logged is %v", entries)
		}
		if got := fmt.Sprint(s.Healths()); got != "[up up]" {
			t.Errorf("the upstreams are %s", got)
		}
	})
}

// An address from a file is known at load, and may become another one while the config runs.
func TestAnAddressThatAFileChangesContradictsNone(t *testing.T) {
	listener := proxytest.Listen(t, "")
	secure, others := proxytest.SplitTLS(t, listener)
	certificate := proxytest.SelfSigned(t, "127.0.0.1")
	proxytest.Serve(t, secure, proxytest.Serving(certificate))
	inCleartext := proxytest.ServeRaw(t, others, func(net.Conn) {})
	pinned, other := listener.Addr().String(), plain(t, "other", "")
	file := filepath.Join(t.TempDir(), "address")
	write := func(address string) { lab.Replace(t, file, []byte(address)) }
	for _, options := range []string{"", "health_uri /up\nhealth_interval 20ms\n"} {
		t.Run(options, func(t *testing.T) {
			write(other.Addr)
			s := run(t, "proxyos {\nupstream https://"+pinned+" {\ntls_pin "+proxytest.PinOf(certificate)+"\nweight 0\n}\nto {file."+file+"}\n"+options+"}")
			s.Wants(http.StatusOK, "other")
			write(pinned)
			if options == "" {
				for range 3 {
					s.Wants(http.StatusBadGateway, "")
				}
			} else {
				eventually(t, "a health check of the file's address is refused", func() bool {
					for _, entry := range s.Logs.Entries("HTTP request failed") {
						if strings.Contains(fmt.Sprint(entry["error"]), "but in a different way") {
							return true
						}
					}
					return false
				})
			}
			if n := inCleartext.Conns.Load(); n != 0 {
				t.Errorf("%d connections came to the pinned upstream in cleartext", n)
			}
		})
	}
}

// What DNS answers must not decide whether certificates are checked.
func TestDynamicUpstreamsHaveTheirGroupsMeaning(t *testing.T) {
	secure := untrusted(t, "secure", "")
	_, port, _ := strings.Cut(secure.Addr, ":")
	names := proxytest.NewNameServer(t, "app.test. A 127.0.0.1")
	bothForms(t, "proxyos {\nname app\nupstream https://"+secure.Addr+" {\nskip_tls_verify\n}\n"+
		"staging {\ndynamic a app.test "+port+" {\nresolvers "+names.Addr+"\n}\nskip_tls_verify off\n}\nstaging_when header X-Group staging\nstaging_fallback off\ntransport http {\ntls\n}\n}", func(t *testing.T, s *server) {
		s.Wants(http.StatusOK, "secure")
		req := s.Request("GET", "/", nil)
		req.Header.Set("X-Group", "staging")
		res, err := s.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadGateway {
			t.Errorf("a dynamic upstream of staging gives %d: it is not checked, since a static one of production is not", res.StatusCode)
		}
	})
}

// A server name from the request works for an IPv6 address, too.
func TestAServerNameFromTheRequestGoesWithAnIPv6Address(t *testing.T) {
	app := untrusted(t, "app", "")
	s := run(t, "proxyos {\nupstream https://[::ffff:127.0.0.1]:"+proxytest.PortOf(t, app.Addr)+" {\nskip_tls_verify\ntls_server_name {http.request.header.X-Name}\n}\n}")
	if got := s.Do(s.Request("GET", "/", nil, "X-Name", "app.test")); got.Body != "app" || app.Last().TLS.ServerName != "app.test" {
		t.Errorf("it answers %d %q", got.StatusCode, got.Body)
	}
}

// A connection that was made and checked for one name serves no request for another.
func TestConnectionsForDifferentServerNamesAreKeptApart(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	var mu sync.Mutex
	shown := make(map[string]string) // by the connection's address: the name that it was made for
	listener := proxytest.Listen(t, "")
	certificate := ca.Issue(t, "a.test", "b.test", "evil.test")
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			_, _ = io.WriteString(w, r.TLS.ServerName)
			shown[r.RemoteAddr] = r.TLS.ServerName
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	proxytest.StartServer(t, listener, server)
	for _, versions := range []string{"1.1", "1.1 2"} {
		t.Run(versions, func(t *testing.T) {
			s := run(t, "proxyos {\nupstream https://"+listener.Addr().String()+" {\ntls_server_name {http.request.header.X-Name}\ntls_trust_pool file "+ca.File+"\n}\ntransport http {\nversions "+versions+"\n}\n}")
			ask := func(name string) (int, string) {
				req := s.Request("GET", "/", nil)
				req.Header.Set("X-Name", name)
				res, err := s.Client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, _ := io.ReadAll(res.Body)
				return res.StatusCode, string(body)
			}
			for range 5 {
				for _, name := range []string{"a.test", "b.test"} {
					if status, got := ask(name); status != http.StatusOK || got != name {
						t.Errorf("versions %s: a request for %s gets %d over a connection for %q", versions, name, status, got)
					}
				}
				if status, got := ask("c.test"); status != http.StatusBadGateway {
					t.Errorf("versions %s: a name that the certificate does not have gets %d over a connection for %q", versions, status, got)
				}
			}
			mu.Lock()
			if len(shown) != 2 {
				t.Errorf("versions %s: %d connections for two names", versions, len(shown))
			}
			clear(shown)
			mu.Unlock()
			for i := range 100 { // more names than connections are kept for
				_, _ = ask(fmt.Sprintf("n%d.test", i))
			}
		})
	}
}

// A request does not fail because another one, for another name, fails its handshake.
func TestAServerNameThatDoesNotFitFailsNoOtherRequest(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	app := signedBy(t, ca, "app", "", "app.test")
	s := run(t, "proxyos {\nupstream https://"+app.Addr+" {\ntls_server_name {http.request.header.X-Name}\ntls_trust_pool file "+ca.File+"\n}\n}")
	failed := s.Crowd(8, 400, func() *http.Request {
		res, err := s.Client.Do(s.Request("GET", "/", nil, "X-Name", "nobody.test"))
		if err != nil {
			t.Error(err)
		} else if res.Body.Close(); res.StatusCode != http.StatusBadGateway {
			t.Errorf("a name that the certificate does not have gets %d", res.StatusCode)
		}
		return s.Request("GET", "/", nil, "X-Name", "app.test")
	})
	if failed > 0 {
		t.Errorf("%d of 400 requests fail", failed)
	}
}
