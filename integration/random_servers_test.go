package integration

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Header fields by which the servers of the random routes know what a request is.
const (
	routeField   = "X-Route"   // which route sent it, and which of its two configs
	dialField    = "X-Dial"    // the address that it was sent to
	groupField   = "X-Served"  // the group that serves it
	requestField = "X-Request" // its number
	dropField    = "X-Drop"    // the server that breaks it off
	nameField    = "X-Name"    // a server name that the request decides
)

// listeningServer is a server that takes plain HTTP/1.1, HTTP/2 without TLS and HTTPS on one
// port.
type listeningServer struct {
	addr        string
	certificate tls.Certificate
	trusted     bool // the authority has signed the certificate
}

// fits tells whether the certificate passes a check for a name: that of its signature and
// its names, by the standard library.
func (s *listeningServer) fits(ca *proxytest.Authority, name string) bool {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	_, err := s.certificate.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	return err == nil
}

// laboratory is the servers of the random routes and what they have seen.
type laboratory struct {
	ca      *proxytest.Authority
	servers map[string]*listeningServer // by address
	ports   []string                    // the common one first, then one with fewer servers, then 8443
	clients map[string]*clientPair      // client certificates, by name
	names   *proxytest.NameServer
	pools   map[string][]string // names that resolve, to what

	mu       sync.Mutex
	routes   map[string]*randomRoute // of the running config
	reached  map[string][]string     // by request: the groups that it came from
	checks   map[string]map[string]bool
	seen     map[string]int // how often what was seen
	problems []string
}

// clientPair is a client certificate and its files.
type clientPair struct {
	certificate tls.Certificate
	cert, key   string
}

// detectedPort is a port that means HTTPS without a word about it: the first that is free on the
// laboratory's addresses. Nobody listens there on 127.0.0.1.
var detectedPort string

func chooseDetectedPort(t *testing.T) string {
	t.Helper()
	ports := []string{"9443", "10443", "8007", "8006", "9090", "8443"}
	for _, port := range ports {
		isFree := true
		for _, host := range []string{"127.0.0.71", "127.0.0.72"} {
			listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if err != nil {
				isFree = false
				continue
			}
			_ = listener.Close()
		}
		if number, _ := strconv.Atoi(port); isFree && proxytest.RefusePort(t, number) {
			return port
		}
	}
	t.Fatalf("none of the ports %v is free on 127.0.0.1, 127.0.0.71 and 127.0.0.72", ports)
	return ""
}

func newLaboratory(t *testing.T) *laboratory {
	t.Helper()
	l := &laboratory{
		ca: proxytest.NewAuthority(t), servers: make(map[string]*listeningServer), clients: make(map[string]*clientPair),
		pools: map[string][]string{
			"one.test": {"127.0.0.1"}, "two.test": {"127.0.0.71", "127.0.0.73"}, "three.test": {"127.0.0.1", "127.0.0.71", "127.0.0.72"},
			"signed.test": {"127.0.0.1", "127.0.0.73"},
		},
		routes: make(map[string]*randomRoute), reached: make(map[string][]string), checks: make(map[string]map[string]bool),
		seen: make(map[string]int),
	}
	records := []string{}
	for name, addresses := range l.pools {
		for _, address := range addresses {
			records = append(records, name+". 0 IN A "+address)
		}
	}
	l.names = proxytest.NewNameServer(t, records...)
	for _, name := range []string{"a", "b", "c"} {
		pair := &clientPair{certificate: proxytest.SelfSigned(t, "client-"+name+".test")}
		pair.cert, pair.key = proxytest.WriteCertificate(t, pair.certificate)
		l.clients[name] = pair
	}
	common := proxytest.PortOf(t, freeAddr(t))
	other := proxytest.PortOf(t, freeAddr(t))
	detectedPort = chooseDetectedPort(t)
	l.ports = []string{common, other, detectedPort}
	for _, s := range []struct {
		host, port string
		trusted    bool
		names      []string
	}{
		{"127.0.0.1", common, true, []string{"127.0.0.1", "localhost", "app.test"}},
		{"127.0.0.71", common, false, []string{"127.0.0.71", "app.test"}},
		{"127.0.0.72", common, true, []string{"other.test"}},
		{"127.0.0.73", common, true, []string{"127.0.0.73", "b.test"}},
		{"127.0.0.1", other, false, []string{"127.0.0.1", "localhost"}},
		{"127.0.0.71", detectedPort, true, []string{"127.0.0.71", "app.test"}},
		{"127.0.0.72", detectedPort, false, []string{"127.0.0.72"}},
	} {
		certificate := proxytest.SelfSigned(t, s.names...)
		if s.trusted {
			certificate = l.ca.Issue(t, s.names...)
		}
		l.start(t, &listeningServer{addr: net.JoinHostPort(s.host, s.port), certificate: certificate, trusted: s.trusted})
	}
	return l
}

// start runs a server until the test ends.
func (l *laboratory) start(t *testing.T, s *listeningServer) {
	l.servers[s.addr] = s
	secure, cleartext := proxytest.SplitTLS(t, proxytest.Listen(t, s.addr))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(s, w, r) })
	config := proxytest.Serving(s.certificate)
	config.ClientAuth = tls.RequestClientCert
	proxytest.StartServer(t, secure, &http.Server{Handler: handler, TLSConfig: config})
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	proxytest.StartServer(t, cleartext, &http.Server{Handler: handler, Protocols: both})
}

// serve notes how a request came, compares that with what its route says, and answers.
func (l *laboratory) serve(s *listeningServer, w http.ResponseWriter, r *http.Request) {
	seen := l.spoken(r)
	l.judge(s, r, seen)
	if r.Header.Get(dropField) == s.addr {
		panic(http.ErrAbortHandler)
	}
	if r.Header.Get("Upgrade") == "" {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "served")
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		l.complain("an upgrade came over %s: %v", seen, err)
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
	line, _ := bufio.NewReader(rw).ReadString('\n')
	_, _ = io.WriteString(conn, line)
}

// spoken is how a server was spoken to.
type spoken struct {
	scheme     string // http, h2c or https
	serverName string
	client     string // the name of the client certificate
}

func (s spoken) String() string {
	return fmt.Sprintf("%s, server name %q, client certificate %q", s.scheme, s.serverName, s.client)
}

func (l *laboratory) spoken(r *http.Request) spoken {
	switch {
	case r.TLS == nil && r.ProtoMajor == 2:
		return spoken{scheme: "h2c"}
	case r.TLS == nil:
		return spoken{scheme: "http"}
	}
	seen := spoken{scheme: "https", serverName: r.TLS.ServerName}
	for _, shown := range r.TLS.PeerCertificates[:min(1, len(r.TLS.PeerCertificates))] {
		seen.client = "unknown"
		for name, pair := range l.clients {
			if shown.Equal(pair.certificate.Leaf) {
				seen.client = name
			}
		}
	}
	return seen
}

// judge complains about a request that came in another way than its upstream's line says.
func (l *laboratory) judge(s *listeningServer, r *http.Request, seen spoken) {
	l.mu.Lock()
	route := l.routes[r.Header.Get(routeField)]
	l.mu.Unlock()
	switch {
	case r.Header.Get(healthTargetField) != "":
		l.complain("a health check shows its mark: %v", r.Header)
	case route == nil:
		l.complain("%s %s came to %s from no route that runs (%s): %v", r.Method, r.URL, s.addr, seen, r.Header)
		return
	}
	isCheck := r.URL.Path == "/health"
	var lines []line
	if isCheck {
		lines = route.checkedAt(r.Host)
	} else {
		lines = route.dialledAt(r.Header.Get(groupField), r.Header.Get(dialField), r.Header)
	}
	var reasons []string
	for _, one := range lines {
		way := route.way(one)
		reason := way.differsFrom(l, s, r, seen, isCheck)
		if reason == "" {
			l.note(r, seen, way, route, isCheck)
			return
		}
		reasons = append(reasons, fmt.Sprintf("%s: %s", one.text(), reason))
	}
	if len(lines) == 0 {
		reasons = []string{"there is no such upstream, or its address contradicts another one"}
	}
	l.complain("%s %s to %s came for %s of %s to %s over %s: %s\n%v\nthe route is\n%s", r.Method, r.URL, r.Host,
		r.Header.Get(dialField), r.Header.Get(groupField), s.addr, seen, strings.Join(reasons, "; "), r.Header, route)
}

// healthTargetField must never leave Caddy.
const healthTargetField = "Proxyos-Health-Target"

// note counts what was seen as it should be.
func (l *laboratory) note(r *http.Request, seen spoken, way way, route *randomRoute, isCheck bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kind := seen.scheme
	switch {
	case kind != "https":
	case !way.verify:
		kind += " unchecked"
	case len(way.pins) > 0:
		kind += " pinned"
	default:
		kind += " verified"
	}
	l.seen[kind]++
	if seen.client != "" {
		l.seen["client certificate"]++
	}
	if way.serverName != "" {
		l.seen["own server name"]++
	}
	if isCheck {
		l.seen["health check"]++
		id := r.Header.Get(routeField)
		if l.checks[id] == nil {
			l.checks[id] = make(map[string]bool)
		}
		l.checks[id][strings.ToLower(r.Host)] = true
		return
	}
	l.seen[r.Method]++
	if r.Header.Get("Upgrade") != "" {
		l.seen["upgrade"]++
	}
	if strings.HasSuffix(route.id, ".after") {
		l.seen["after a reload"]++
	}
	id, group := r.Header.Get(requestField), r.Header.Get(groupField)
	if before := l.reached[id]; len(before) > 0 {
		l.seen["retry"]++
	}
	if route.staging.when && r.Header.Get("X-Want") == "staging" && group == "production" {
		l.seen["fallback"]++
	}
	l.reached[id] = append(l.reached[id], group)
}

// complain notes a problem.
func (l *laboratory) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// report fails the test with the problems so far.
func (l *laboratory) report(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, problem := range l.problems[:min(3, len(l.problems))] {
		t.Error(problem)
	}
	if n := len(l.problems); n > 3 {
		t.Errorf("and %d more", n-3)
	}
}

// count counts something that happened.
func (l *laboratory) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[what]++
}

// hasReached tells whether a request has reached any server.
func (l *laboratory) hasReached(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.reached[id]) > 0
}

// hasChecked tells whether a route's health check of a host and port has come.
func (l *laboratory) hasChecked(id, hostPort string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checks[id][strings.ToLower(hostPort)]
}

// run makes routes those that run.
func (l *laboratory) run(routes []*randomRoute) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, route := range routes {
		l.routes[route.id] = route
	}
}

// forget forgets routes that run no more.
func (l *laboratory) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.routes)
	clear(l.reached)
	clear(l.checks)
}
