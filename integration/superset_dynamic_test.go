package integration

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// testSource is the source of upstreams `dynamic harness <addresses...>`. The address
// "fails" makes it fail, and the request's header X-Upstream replaces them all.
type testSource struct {
	Addresses []string `json:"addresses"`
}

func (testSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.harness",
		New: func() caddy.Module { return new(testSource) },
	}
}

func (s *testSource) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	s.Addresses = d.RemainingArgs()
	return nil
}

func (s *testSource) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	addresses := s.Addresses
	if written := r.Header["X-Upstream"]; written != nil {
		addresses = written
	}
	var upstreams []*reverseproxy.Upstream
	for _, address := range addresses {
		if address == "fails" {
			return nil, errors.New("the source fails")
		}
		upstreams = append(upstreams, &reverseproxy.Upstream{Dial: address})
	}
	return upstreams, nil
}

func init() { caddy.RegisterModule(new(testSource)) }

func TestDynamicUpstreamsAreAskedForAtEachRequest(t *testing.T) {
	backends, addresses := pool(t, "a", "b")
	bothForms(t, "proxyos {\ndynamic harness"+addresses+"\n}", func(t *testing.T, s *server) {
		if counts := s.Tally(10); counts["a"] != 5 || counts["b"] != 5 {
			t.Errorf("10 requests: %v, want 5 each", counts)
		}
		if got := s.Do(s.Request("GET", "/", nil, "X-Upstream", backends[1].Addr)); got.Body != "b" {
			t.Errorf("a request for b went to %s", got.Body)
		}
	})
}

func TestDynamicUpstreamsObeyTheRulesOfTheGroup(t *testing.T) {
	production, addresses := pool(t, "a", "b")
	staging, stagingAddresses := pool(t, "x", "y")
	bothForms(t, "proxyos {\ndynamic harness"+addresses+"\nstaging {\ndynamic harness"+stagingAddresses+"\nlb_policy first\n}\ntraffic_split 25\nfail_duration 1h\n}",
		func(t *testing.T, s *server) {
			if counts := s.Tally(40); counts["a"] != 15 || counts["b"] != 15 || counts["x"] != 10 {
				t.Errorf("40 requests: %v, want 15 to a, 15 to b and 10 to x", counts)
			}
			staging[0].Stop()
			if counts := s.Tally(40); counts["y"] != 10 {
				t.Errorf("40 requests without x: %v, want 10 to y", counts)
			}
			staging[1].Stop()
			if counts := s.Tally(40); counts["a"]+counts["b"] != 40 {
				t.Errorf("40 requests without staging: %v, want all to production", counts)
			}
			production[0].Stop()
			if counts := s.Tally(40); counts["b"] != 40 {
				t.Errorf("40 requests without a: %v, want all to b", counts)
			}
			for _, b := range append(production[:1:1], staging...) {
				b.Start()
			}
		})
}

func TestADynamicUpstreamThatIsNotCheckedIsWarnedOfOnce(t *testing.T) {
	unchecked := untrusted(t, "unchecked", ":8443")
	for options, want := range map[string]int{"": 1, "skip_tls_verify": 0} {
		t.Run(options, func(t *testing.T) {
			bothForms(t, "proxyos {\ndynamic harness "+unchecked.Addr+"\n"+options+"\n}", func(t *testing.T, s *server) {
				if before := s.Logs.Entries("certificates of upstreams"); len(before) != 0 {
					t.Errorf("warned before there is an upstream: %v", before)
				}
				s.Wants(http.StatusOK, "unchecked")
				s.Wants(http.StatusOK, "unchecked")
				if got := s.Logs.Entries("certificates of upstreams"); len(got) != want {
					t.Errorf("%d warnings, want %d: %v", len(got), want, got)
				}
			})
		})
	}
}

func TestConfiguredUpstreamsServeWhereTheDynamicSourceFails(t *testing.T) {
	_, addresses := pool(t, "fixed")
	bothForms(t, "proxyos"+addresses+" {\ndynamic harness fails\n}", func(t *testing.T, s *server) {
		s.Wants(http.StatusOK, "fixed")
	})
	t.Run("and nobody where there are none", func(t *testing.T) {
		s := run(t, "proxyos {\ndynamic harness fails\n}")
		s.Wants(http.StatusServiceUnavailable, "")
	})
}

func TestDynamicAAndSRVResolveNames(t *testing.T) {
	a := plain(t, "a", "127.0.0.1")
	port := proxytest.PortOf(t, a.Addr)
	b := plain(t, "b", "127.0.0.2:"+port)
	names := proxytest.NewNameServer(t,
		"pool.test. 0 IN A 127.0.0.1", "pool.test. 0 IN A 127.0.0.2",
		"_app._tcp.test. 0 IN SRV 0 1 "+port+" a.test.", "_app._tcp.test. 0 IN SRV 0 1 "+port+" b.test.",
		"a.test. 0 IN A 127.0.0.1", "b.test. 0 IN A 127.0.0.2")
	transport := "transport http {\nresolvers " + names.Addr + "\n}"
	sourceA := "dynamic a {\nname pool.test\nport " + port + "\nversions ipv4\nresolvers " + names.Addr + "\n}"
	sourceSRV := "dynamic srv {\nservice app\nproto tcp\nname test\nresolvers " + names.Addr + "\n}"
	multi := "dynamic multi {\na {\nname pool.test\nport " + port + "\nversions ipv4\nresolvers " + names.Addr + "\n}\nharness " + a.Addr + "\n}"
	for _, test := range []struct {
		name, directives string
		shares           map[string]int // of 30 requests
	}{
		{"a", "proxyos {\n" + sourceA + "\n}", map[string]int{"a": 15, "b": 15}},
		{"srv", "proxyos {\n" + sourceSRV + "\n" + transport + "\n}", map[string]int{"a": 15, "b": 15}},
		{"multi", "proxyos {\n" + multi + "\n}", map[string]int{"a": 20, "b": 10}},
		{"in staging", "proxyos 127.0.0.1:" + port + " {\nstaging {\n" + sourceA + "\nlb_policy first\n}\ntraffic_split 50\n}", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			bothForms(t, test.directives, func(t *testing.T, s *server) {
				counts := s.Tally(30)
				if counts["a"]+counts["b"] != 30 {
					t.Errorf("30 requests: %v, want all answered by a and b", counts)
				}
				if test.shares != nil && fmt.Sprint(counts) != fmt.Sprint(test.shares) && test.name != "srv" {
					t.Errorf("30 requests: %v, want %v", counts, test.shares)
				}
				if test.name == "srv" && (counts["a"] == 0 || counts["b"] == 0) { // its order is random each time
					t.Errorf("30 requests: %v, want some to each", counts)
				}
			})
		})
	}
	_ = b
}

func TestDynamicUpstreamsOnDetectedPortsSpeakHTTPS(t *testing.T) {
	secure := untrusted(t, "secure", ":8443")
	plainOne := plain(t, "plain", "")
	bothForms(t, "proxyos {\ndynamic harness "+secure.Addr+" "+plainOne.Addr+"\n}", func(t *testing.T, s *server) {
		if counts := s.Tally(10); counts["secure"] != 5 || counts["plain"] != 5 {
			t.Errorf("10 requests: %v, want 5 each", counts)
		}
		if got := secure.Last(); got.TLS == nil || got.Host != s.Addr {
			t.Errorf("the upstream on port 8443 got Host %q, TLS %v", got.Host, got.TLS != nil)
		}
	})
}
