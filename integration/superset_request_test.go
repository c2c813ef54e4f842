package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestHostIsKeptForEveryKindOfUpstream(t *testing.T) {
	for _, kind := range lab.AllKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			bothForms(t, "proxyos {\n"+kind.Option+"\n}", func(t *testing.T, s *server) {
				s.Do(s.Request("GET", "/", nil))
				if got := kind.Backend.Last(); got.Host != s.Addr || got.Header.Get("X-Forwarded-Host") != s.Addr {
					t.Errorf("the upstream got Host %q and X-Forwarded-Host %q, want %q", got.Host, got.Header.Get("X-Forwarded-Host"), s.Addr)
				}
			})
			t.Run("unless it is overridden", func(t *testing.T) {
				bothForms(t, "proxyos {\n"+kind.Option+"\nheader_up Host {upstream_hostport}\n}", func(t *testing.T, s *server) {
					s.Do(s.Request("GET", "/", nil))
					want := kind.Backend.Addr
					if got := kind.Backend.Last(); got.Host != want && kind.Name != "socket" || got.Host == s.Addr {
						t.Errorf("the upstream got Host %q, want %q", got.Host, want)
					}
				})
			})
		})
	}
}

func TestXRealIPIsTheClientsAddress(t *testing.T) {
	app := plain(t, "app", "")
	forged := []string{"X-Real-IP", "6.6.6.6", "X-Forwarded-For", "7.7.7.7"}
	for _, test := range []struct {
		name, options, want string
		sent                []string
	}{
		{"set", "", "127.0.0.1", nil},
		{"not forgeable", "", "127.0.0.1", forged},
		{"not by several lines", "", "127.0.0.1", append(forged, "x-real-ip", "8.8.8.8")},
		{"overridden", "header_up X-Real-IP 9.9.9.9", "9.9.9.9", forged},
		{"the client's own where that is asked for", "header_up X-Real-IP {header.X-Forwarded-For}", "7.7.7.7", forged},
		{"removed", "header_up -X-Real-IP", "", forged},
		{"also where the first attempts fail", "to " + freeAddr(t) + "\nlb_policy first\nlb_retries 5", "127.0.0.1", forged},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := test.options
			if strings.HasPrefix(options, "to ") {
				options += "\nto " + app.Addr
			} else {
				options = "to " + app.Addr + "\n" + options
			}
			bothForms(t, "proxyos {\n"+options+"\n}", func(t *testing.T, s *server) {
				s.Do(s.Request("GET", "/", nil, test.sent...))
				if got := app.Last().Header.Values("X-Real-Ip"); strings.Join(got, ",") != test.want {
					t.Errorf("the upstream got X-Real-IP %q, want %q", got, test.want)
				}
			})
		})
	}
	t.Run("from a trusted proxy", func(t *testing.T) {
		s := newServer(t)
		s.MustLoad("{\nservers {\ntrusted_proxies static 127.0.0.1\n}\n}\n" + s.Site("proxyos "+app.Addr))
		s.Do(s.Request("GET", "/", nil, forged...))
		if got := app.Last().Header.Get("X-Real-Ip"); got != "7.7.7.7" {
			t.Errorf("the upstream got X-Real-IP %q, want 7.7.7.7", got)
		}
	})
}

func TestTrustedProxiesOfTheRouteKeepWhatTheySay(t *testing.T) {
	app := plain(t, "app", "")
	for options, want := range map[string]string{
		"":                               "127.0.0.1",
		"trusted_proxies 10.0.0.0/8":     "127.0.0.1",
		"trusted_proxies 127.0.0.1/32":   "7.7.7.7, 127.0.0.1",
		"trusted_proxies private_ranges": "7.7.7.7, 127.0.0.1",
	} {
		t.Run(options, func(t *testing.T) {
			bothForms(t, "proxyos "+app.Addr+" {\n"+options+"\n}", func(t *testing.T, s *server) {
				s.Do(s.Request("GET", "/", nil, "X-Forwarded-For", "7.7.7.7"))
				if got := app.Last().Header.Get("X-Forwarded-For"); got != want {
					t.Errorf("the upstream got X-Forwarded-For %q, want %q", got, want)
				}
			})
		})
	}
}

func TestHeadersMethodAndURIAreChangedAsConfigured(t *testing.T) {
	app := plain(t, "app", "")
	app.Answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server-Name", "secret")
		w.Header().Set("Location", "http://inside/path")
		fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
	})
	directives := "proxyos " + app.Addr + ` {
		method PUT
		rewrite /new{path}?{query}&new=2
		header_up +X-Added one
		header_up X-Set {upstream_hostport}
		header_up -X-Gone
		header_up X-Changed ^a(.*)$ b$1
		header_down -Server-Name
		header_down Location inside outside
		header_down +X-Group {http.proxyos.group}
	}`
	bothForms(t, directives, func(t *testing.T, s *server) {
		got := s.Do(s.Request("POST", "/path?q=1", strings.NewReader("hello"), "X-Added", "zero", "X-Gone", "yes", "X-Changed", "abc"))
		if want := "PUT /new/path?q=1&new=2"; got.Body != want {
			t.Errorf("the upstream got %q, want %q", got.Body, want)
		}
		up := app.Last().Header
		if fmt.Sprint(up["X-Added"], up["X-Set"], up["X-Gone"], up["X-Changed"]) != fmt.Sprint([]string{"zero", "one"}, []string{app.Addr}, []string{}, []string{"bbc"}) {
			t.Errorf("the upstream got %v", up)
		}
		if got.Header.Get("Server-Name") != "" || got.Header.Get("Location") != "http://outside/path" || got.Header.Get("X-Group") != "production" {
			t.Errorf("the client got %v", got.Header)
		}
	})
}

func TestABufferedRequestMayBeRepeated(t *testing.T) {
	dead, app := newCutter(t), plain(t, "app", "")
	app.Answer(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	for options, want := range map[string]int{"retry_buffer 0": http.StatusBadGateway, "retry_buffer 1MiB": http.StatusOK, "request_buffers 1MiB": http.StatusOK, "request_buffers unlimited": http.StatusOK} {
		t.Run(options, func(t *testing.T) {
			body := strings.Repeat("x", 1<<19) // longer than what is sent before the answer is looked for
			bothForms(t, "proxyos "+dead.Addr+" "+app.Addr+" {\nfail_duration 0\nlb_policy first\nlb_retry_match method POST\n"+options+"\n}", func(t *testing.T, s *server) {
				req := s.Request("POST", "/", strings.NewReader(body))
				req.Close = true
				res, err := s.Client.Do(req)
				if err != nil {
					if want == http.StatusOK {
						t.Error(err)
					}
					return // reset while the body was being sent
				}
				defer res.Body.Close()
				got, _ := io.ReadAll(res.Body)
				if res.StatusCode != want || want == http.StatusOK && string(got) != body {
					t.Errorf("got %d and %d bytes, want %d", res.StatusCode, len(got), want)
				}
			})
		})
	}
}

func TestAClientWithoutASocketAddressHasNoXRealIP(t *testing.T) {
	app := plain(t, "app", "")
	s := newServer(t)
	path := proxytest.SocketPath(t)
	s.MustLoad("http:// {\nbind unix/" + path + "\nproxyos " + app.Addr + "\n}\n")
	conn := proxytest.Dial(t, path)
	conn.Send("GET / HTTP/1.1\r\nHost: app\r\nX-Real-IP: 6.6.6.6\r\n\r\n")
	if got := conn.ReadAnswer(http.MethodGet); got.StatusCode != http.StatusOK {
		t.Fatal(got.Status)
	}
	if got := app.Last().Header.Values("X-Real-Ip"); len(got) != 0 {
		t.Errorf("the upstream got X-Real-IP %q", got)
	}
}
