package integration

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestFastCGIIsATransportLikeAnyOther(t *testing.T) {
	listener := proxytest.Listen(t, "")
	go fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, fcgi.ProcessEnv(r)["DOCUMENT_ROOT"], r.Header.Get("X-Real-Ip"), body)
	}))
	addr := listener.Addr().String()
	bothForms(t, "proxyos "+addr+" "+freeAddr(t)+" {\ntransport fastcgi {\nroot /srv\n}\n}", func(t *testing.T, s *server) {
		for range 4 { // half of them are tried on the upstream that is down first
			got := s.Do(s.Request("POST", "/index.php", strings.NewReader("hello")))
			if want := "POST /srv 127.0.0.1 hello"; got.StatusCode != http.StatusOK || got.Body != want {
				t.Errorf("got %d %q, want %q", got.StatusCode, got.Body, want)
			}
		}
	})
	for _, address := range []string{"https://" + addr, "https://app.lan"} {
		refuses(t, "proxyos "+address+" {\ntransport fastcgi\n}", `upstream "`+address+`"`, "has no TLS", "without https://")
	}
}

func TestPortRangesAndPlaceholdersReachTheirUpstreams(t *testing.T) {
	var first, second *backend
	for { // two ports in a row
		port, _ := strconv.Atoi(proxytest.PortOf(t, freeAddr(t)))
		next, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port+1))
		if err != nil {
			continue
		}
		next.Close()
		first = plain(t, "first", fmt.Sprint("127.0.0.1:", port))
		second = plain(t, "second", fmt.Sprint("127.0.0.1:", port+1))
		break
	}
	secure := untrusted(t, "secure", ":8443")
	t.Setenv("PROXYOS_HOST", strings.TrimSuffix(secure.Addr, ":8443"))
	t.Setenv("PROXYOS_PORT", proxytest.PortOf(t, first.Addr))
	for _, test := range []struct{ name, directives, want string }{
		{"a range", "proxyos 127.0.0.1:" + proxytest.PortOf(t, first.Addr) + "-" + proxytest.PortOf(t, second.Addr), "first second"},
		{"a host before a detected port", "proxyos {env.PROXYOS_HOST}:8443", "secure secure"},
		{"a port", "proxyos 127.0.0.1:{env.PROXYOS_PORT}", "first first"},
		{"part of a port", "proxyos 127.0.0.1:" + proxytest.PortOf(t, first.Addr)[:2] + "{query.rest}", "first first"},
		{"a whole address", "proxyos {http.request.header.X-Upstream}", "second second"},
		{"when the Caddyfile is read", "proxyos {$PROXYOS_HOST}:8443", "secure secure"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bothForms(t, test.directives, func(t *testing.T, s *server) {
				got := names(s, 2, func(int) *http.Request {
					return s.Request("GET", "/?rest="+proxytest.PortOf(t, first.Addr)[2:], nil, "X-Upstream", second.Addr)
				})
				if strings.Join(got, " ") != test.want {
					t.Errorf("two requests went to %v, want %s", got, test.want)
				}
			})
		})
	}
	if got := secure.Last(); got.TLS == nil {
		t.Error("the upstream on the detected port was not spoken to over TLS")
	}
}

func TestPlaceholderUpstreamsFailWhereTheyNameNone(t *testing.T) {
	bothForms(t, "proxyos {http.request.header.X-Upstream}:3000", func(t *testing.T, s *server) {
		if status, _ := s.Get("/"); status < 500 {
			t.Errorf("a request for no upstream is answered with %d", status)
		}
	})
}

func TestHTTP3Upstream(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := proxytest.Serving(ca.Issue(t, "127.0.0.1"))
	upstream := &http3.Server{TLSConfig: http3.ConfigureTLSConfig(config), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Proto, body)
	})}
	go upstream.Serve(packets)
	t.Cleanup(func() { upstream.Close(); packets.Close() })
	bothForms(t, "proxyos https://"+packets.LocalAddr().String()+" {\ntransport http {\nversions 3\ntls_trust_pool file "+ca.File+"\n}\n}", func(t *testing.T, s *server) {
		if got := s.Do(s.Request("POST", "/", strings.NewReader("hello"))); got.Body != "HTTP/3.0 hello" {
			t.Errorf("got %d %q, want an answer over HTTP/3", got.StatusCode, got.Body)
		}
	})
	refuses(t, "proxyos http://127.0.0.1:3000 {\ntransport http {\nversions 3\n}\n}", "HTTP/3 needs TLS", "https://127.0.0.1:3000")
}

func TestPROXYProtocolTellsTheUpstreamOfTheClient(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			preambles := make(chan string, 10)
			upstream := proxytest.NewRawServer(t, func(conn net.Conn) { servePROXY(conn, version, preambles) })
			bothForms(t, "proxyos "+upstream.Addr+" {\ntransport http {\nproxy_protocol "+version+"\n}\n}", func(t *testing.T, s *server) {
				s.Wants(http.StatusOK, "")
				if got := <-preambles; !strings.Contains(got, "127.0.0.1") {
					t.Errorf("the connection began with %q, want the client's address in it", got)
				}
			})
		})
	}
}

// servePROXY reads the preamble of a connection and answers one request.
func servePROXY(conn net.Conn, version string, preambles chan<- string) {
	reader := bufio.NewReader(conn)
	if version == "v1" {
		line, _ := reader.ReadString('\n')
		preambles <- line
	} else {
		header := make([]byte, 16+12) // signature, command, family, length; two IPv4 addresses and ports
		if _, err := io.ReadFull(reader, header); err != nil {
			return
		}
		preambles <- fmt.Sprintf("%q from %s", header[:12], net.IP(header[16:20]))
	}
	if _, err := http.ReadRequest(reader); err == nil {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
}

func TestNetworkProxyStandsBetween(t *testing.T) {
	app, secure := plain(t, "app", ""), untrusted(t, "secure", "")
	var forwarded, tunnelled atomic.Int64
	proxy := plain(t, "proxy", "")
	proxy.Answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			tunnelled.Add(1)
			tunnel(w, r.Host)
			return
		}
		forwarded.Add(1)
		r.RequestURI = ""
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	})
	for _, option := range []string{"network_proxy url http://" + proxy.Addr, "forward_proxy_url http://" + proxy.Addr} {
		t.Run(option, func(t *testing.T) {
			bothForms(t, "proxyos http://"+app.Addr+" https://"+secure.Addr+" {\nskip_tls_verify\nheader_up Host {upstream_hostport}\ntransport http {\n"+option+"\n}\n}", func(t *testing.T, s *server) {
				before, tunnels := forwarded.Load(), tunnelled.Load()
				if counts := s.Tally(4); counts["app"] != 2 || counts["secure"] != 2 {
					t.Errorf("4 requests: %v, want 2 each", counts)
				}
				if forwarded.Load() != before+2 || tunnelled.Load() == tunnels {
					t.Errorf("the proxy has forwarded %d requests and opened %d tunnels", forwarded.Load()-before, tunnelled.Load()-tunnels)
				}
			})
		})
	}
}

// tunnel connects the client of a CONNECT request with a host.
func tunnel(w http.ResponseWriter, host string) {
	target, err := net.Dial("tcp", host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		target.Close()
		return
	}
	io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { io.Copy(target, buffered); target.Close() }()
	go func() { io.Copy(client, target); client.Close() }()
}

func TestTheRoutesTransportIsTheBaseOfEveryUpstream(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	verified, app := signedBy(t, ca, "verified", ""), plain(t, "app", "")
	bothForms(t, "proxyos https://"+verified.Addr+" http://"+app.Addr+" {\ntransport http {\ntls_trust_pool file "+ca.File+"\nlocal_address 127.0.0.9\ncompression off\n}\n}",
		func(t *testing.T, s *server) {
			s.Client.Transport.(*http.Transport).DisableCompression = true // the client asks for none
			if counts := s.Tally(4); counts["verified"] != 2 || counts["app"] != 2 {
				t.Errorf("4 requests: %v, want 2 each", counts)
			}
			for _, b := range []*backend{verified, app} {
				got := b.Last()
				if host, _, _ := net.SplitHostPort(got.RemoteAddr); host != "127.0.0.9" {
					t.Errorf("%s was dialled from %s, want 127.0.0.9", b.Name, host)
				}
				if got.Header.Get("Accept-Encoding") != "" {
					t.Errorf("%s got Accept-Encoding %q", b.Name, got.Header.Get("Accept-Encoding"))
				}
			}
		})
}

func TestClientCertificatesArePresentedToTheUpstreamThatTheyAreFor(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	strict := signedBy(t, ca, "strict", "")
	strict.Stop()
	strict.TLS.ClientAuth, strict.TLS.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	strict.Start()
	lax := signedBy(t, ca, "lax", "")
	cert, key := proxytest.WriteCertificate(t, ca.Issue(t, "client"))
	bothForms(t, "proxyos {\nupstream https://"+strict.Addr+" {\ntls_trust_pool file "+ca.File+"\ntls_client_auth "+cert+" "+key+"\n}\nupstream https://"+lax.Addr+" {\ntls_trust_pool file "+ca.File+"\ntls_server_name localhost\n}\n}",
		func(t *testing.T, s *server) {
			if counts := s.Tally(4); counts["strict"] != 2 || counts["lax"] != 2 {
				t.Errorf("4 requests: %v, want 2 each", counts)
			}
			if n := len(strict.Last().TLS.PeerCertificates); n != 1 {
				t.Errorf("the strict upstream has seen %d certificates", n)
			}
			if got := lax.Last().TLS; len(got.PeerCertificates) != 0 || got.ServerName != "localhost" {
				t.Errorf("the lax upstream has seen %d certificates and the name %q", len(got.PeerCertificates), got.ServerName)
			}
		})
}
