package integration

import (
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestAPlainAddressOnADetectedPortSpeaksUncheckedHTTPS(t *testing.T) {
	pve := untrusted(t, "pve", ":8006")
	bothWays(t, "proxyos "+pve.Addr, `{"handler": "proxyos", "upstreams": ["`+pve.Addr+`"]}`, func(t *testing.T, s *server) {
		s.Wants(http.StatusOK, "pve")
		if pve.Last().TLS == nil {
			t.Error("the request came without TLS")
		}
	})
}

func TestAnHTTPSAddressIsVerified(t *testing.T) {
	app := untrusted(t, "app", "")
	bothWays(t, "proxyos https://"+app.Addr, `{"handler": "proxyos", "upstreams": ["https://`+app.Addr+`"]}`, func(t *testing.T, s *server) {
		s.Wants(http.StatusBadGateway, "")
		wantsX509Error(s)
	})
	if got := app.Requests.Load(); got != 0 {
		t.Errorf("%d requests reached the upstream whose certificate nobody trusts", got)
	}
}

func TestSkipTLSVerifyAcceptsASelfSignedCertificate(t *testing.T) {
	app := untrusted(t, "app", "")
	t.Run("of the route", func(t *testing.T) {
		bothWays(t, "proxyos https://"+app.Addr+" {\nskip_tls_verify\n}",
			`{"handler": "proxyos", "upstreams": ["https://`+app.Addr+`"], "skip_tls_verify": true}`,
			func(t *testing.T, s *server) { s.Wants(http.StatusOK, "app") })
	})
	t.Run("of the upstream", func(t *testing.T) {
		bothWays(t, "proxyos {\nupstream https://"+app.Addr+" {\nskip_tls_verify\n}\n}",
			`{"handler": "proxyos", "upstreams": [{"address": "https://`+app.Addr+`", "skip_tls_verify": true}]}`,
			func(t *testing.T, s *server) { s.Wants(http.StatusOK, "app") })
	})
	t.Run("of the group", func(t *testing.T) {
		old := plain(t, "old", "")
		bothWays(t, "proxyos "+old.Addr+" {\nstaging https://"+app.Addr+" {\nskip_tls_verify\n}\ntraffic_split 100\n}",
			`{"handler": "proxyos", "upstreams": ["`+old.Addr+`"], "traffic_split": 100,
				"staging": {"upstreams": ["https://`+app.Addr+`"], "skip_tls_verify": true}}`,
			func(t *testing.T, s *server) { s.Wants(http.StatusOK, "app") })
	})
}

func TestAWrittenHTTPWinsOverADetectedPort(t *testing.T) {
	app := plain(t, "app", ":8443")
	bothWays(t, "proxyos http://"+app.Addr, `{"handler": "proxyos", "upstreams": ["http://`+app.Addr+`"]}`,
		func(t *testing.T, s *server) { s.Wants(http.StatusOK, "app") })
}

func TestAnHTTPSAddressOnADetectedPortIsNotVerified(t *testing.T) {
	app := untrusted(t, "app", ":8443")
	bothWays(t, "proxyos https://"+app.Addr, `{"handler": "proxyos", "upstreams": ["https://`+app.Addr+`"]}`,
		func(t *testing.T, s *server) { s.Wants(http.StatusOK, "app") })
	before := app.Requests.Load()
	t.Run("unless skip_tls_verify is off", func(t *testing.T) {
		bothWays(t, "proxyos https://"+app.Addr+" {\nskip_tls_verify off\n}",
			`{"handler": "proxyos", "upstreams": ["https://`+app.Addr+`"], "skip_tls_verify": false}`,
			func(t *testing.T, s *server) {
				s.Wants(http.StatusBadGateway, "")
				wantsX509Error(s)
			})
	})
	if app.Requests.Load() != before {
		t.Error("a request reached the upstream whose certificate nobody trusts")
	}
}

func TestAPrivateCAIsTrustedWhereItIsWritten(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	app := signedBy(t, ca, "app", ":8443")
	bothWays(t, "proxyos {\nupstream "+app.Addr+" {\ntls_trust_pool file "+ca.File+"\n}\n}",
		`{"handler": "proxyos", "upstreams": [{"address": "`+app.Addr+`", "tls": {"ca": {"provider": "file", "pem_files": ["`+ca.File+`"]}}}]}`,
		func(t *testing.T, s *server) { s.Wants(http.StatusOK, "app") })
	t.Run("and no other is", func(t *testing.T) {
		other := proxytest.NewAuthority(t)
		s := run(t, "proxyos {\nupstream "+app.Addr+" {\ntls_trust_pool file "+other.File+"\n}\n}")
		s.Wants(http.StatusBadGateway, "")
		wantsX509Error(s)
	})
}

func TestOnePoolMixesEveryKindOfUpstream(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	backends := []*backend{
		untrusted(t, "detected", ":8006"),
		untrusted(t, "skipped", ""),
		plain(t, "written http", ":8443"),
		untrusted(t, "written https", ":8443"),
		h2c(t, "h2c", ""),
		signedBy(t, ca, "verified", ""),
		unixSocket(t, "socket"),
	}
	socket := backends[6].Addr
	directives := `proxyos ` + backends[0].Addr + ` {
		upstream https://` + backends[1].Addr + ` {
			skip_tls_verify
		}
		to http://` + backends[2].Addr + ` https://` + backends[3].Addr + ` h2c://` + backends[4].Addr + `
		upstream https://` + backends[5].Addr + ` {
			tls_trust_pool file ` + ca.File + `
		}
		to unix/` + socket + `
	}`
	handler := `{"handler": "proxyos", "upstreams": [
		"` + backends[0].Addr + `", {"address": "https://` + backends[1].Addr + `", "skip_tls_verify": true},
		"http://` + backends[2].Addr + `", "https://` + backends[3].Addr + `", "h2c://` + backends[4].Addr + `",
		{"address": "https://` + backends[5].Addr + `", "tls": {"ca": {"provider": "file", "pem_files": ["` + ca.File + `"]}}}, "unix/` + socket + `"]}`
	bothWays(t, directives, handler, func(t *testing.T, s *server) {
		for round := range 3 {
			for _, b := range backends {
				s.Wants(http.StatusOK, b.Name)
				if t.Failed() {
					t.Fatalf("in round %d", round+1)
				}
			}
		}
		for _, b := range backends {
			last := b.Last()
			if wantTLS := b.TLS != nil; (last.TLS != nil) != wantTLS {
				t.Errorf("%s sees TLS: %v", b.Name, !wantTLS)
			}
			if wantHTTP2 := b.Name == "h2c" || b.TLS != nil; (last.ProtoMajor == 2) != wantHTTP2 {
				t.Errorf("%s sees %s", b.Name, last.Proto)
			}
		}
	})
}

func TestDetectedPortsAreWarnedOfOnceARoute(t *testing.T) {
	const directives = `proxyos /a 127.0.0.1:8006 https://127.0.0.1:8007 http://127.0.0.1:8443 127.0.0.1:3000 {
		name first
		staging 127.0.0.1:9443
		traffic_split 10
	}
	proxyos /b 127.0.0.1:10443
	proxyos /c 127.0.0.1:8443 {
		skip_tls_verify
	}
	proxyos /d 127.0.0.1:8443 {
		skip_tls_verify off
	}
	proxyos /e https://127.0.0.1:3000
	proxyos /f 127.0.0.1:9090 {
		transport fastcgi
	}`
	s := run(t, directives)
	warnings := s.Logs.Entries("certificates of upstreams")
	if len(warnings) != 2 {
		t.Fatalf("%d warnings, want one for each of two routes: %v", len(warnings), warnings)
	}
	slices.SortFunc(warnings, func(a, b logEntry) int { return strings.Compare(b["route"].(string), a["route"].(string)) })
	for i, want := range []struct {
		route     string
		upstreams []any
	}{
		{"first", []any{"127.0.0.1:8006", "https://127.0.0.1:8007", "127.0.0.1:9443"}},
		{s.Addr + "/b", []any{"127.0.0.1:10443"}},
	} {
		warning := warnings[i]
		if warning["level"] != "warn" || warning["route"] != want.route || !slices.Equal(warning["upstreams"].([]any), want.upstreams) {
			t.Errorf("got %v, want route %q and upstreams %v", warning, want.route, want.upstreams)
		}
		if !strings.Contains(warning["msg"].(string), "write `skip_tls_verify off` to check them") {
			t.Errorf("it does not say how to check them: %v", warning)
		}
	}
}

// wantsX509Error fails the test unless the log says that a certificate was refused.
func wantsX509Error(s *server) {
	s.T.Helper()
	for _, entry := range s.Logs.Entries("x509: certificate signed by unknown authority") {
		if entry["level"] == "error" {
			return
		}
	}
	s.T.Errorf("no x509 error in the log:\n%s", s.Logs)
}

func TestSkipTLSVerifyLeavesTheClientsTLSAlone(t *testing.T) {
	app := untrusted(t, "app", "")
	ca, clients, stranger := proxytest.NewAuthority(t), proxytest.NewAuthority(t), proxytest.NewAuthority(t)
	cert, key := proxytest.WriteCertificate(t, ca.Issue(t, "localhost"))
	s := newServer(t)
	url := "https://localhost:" + proxytest.PortOf(t, s.Addr)
	s.MustLoad("{\nauto_https disable_redirects\n}\n" + url + ` {
		bind 127.0.0.1
		tls ` + cert + ` ` + key + ` {
			client_auth {
				mode require_and_verify
				trust_pool file ` + clients.File + `
			}
		}
		proxyos https://` + app.Addr + ` {
			skip_tls_verify
		}
	}`)
	get := func(config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("got %s", res.Status)
		}
		return nil
	}
	mine := []tls.Certificate{clients.Issue(t, "client")}
	if err := get(&tls.Config{RootCAs: ca.Pool(), Certificates: mine}); err != nil {
		t.Errorf("a client that trusts Caddy's certificate, and has one that Caddy trusts: %v", err)
	}
	for name, c := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"a client that does not trust Caddy's certificate is served": {
			&tls.Config{RootCAs: stranger.Pool(), Certificates: mine}, "x509: certificate signed by unknown authority",
		},
		"a client with another name in mind is served": {
			&tls.Config{RootCAs: ca.Pool(), Certificates: mine, ServerName: "other.test"}, "x509: certificate is valid for localhost, not other.test|tls: internal error",
		},
		"a client whose certificate Caddy does not trust is served": {
			&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{stranger.Issue(t, "client")}}, "tls: unknown certificate authority|tls: bad certificate",
		},
		"a client without a certificate is served": {&tls.Config{RootCAs: ca.Pool()}, "tls: certificate required"},
	} {
		err := get(c.config)
		if err == nil {
			t.Error(name)
		} else if !slices.ContainsFunc(strings.Split(c.want, "|"), func(part string) bool { return strings.Contains(err.Error(), part) }) {
			t.Errorf("%s: no; but the error is %v", name, err)
		}
	}

	tlsOf := func(directives string) string {
		config := adapt(t, url+" {\ntls "+cert+" "+key+"\n"+directives+"\n}")
		return strings.Replace(config, `,"skip_tls_verify":true`, "", 1)
	}
	if with, without := tlsOf("proxyos https://a {\nskip_tls_verify\n}"), tlsOf("proxyos https://a"); with != without {
		t.Errorf("skip_tls_verify changes more of the config than the handler itself:\n%s\n%s", with, without)
	}
}
