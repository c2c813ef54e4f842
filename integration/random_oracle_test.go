package integration

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// What the manual says about a line, written a second time and in another way than the
// module does.

func pinOf(s *listeningServer) string { return proxytest.PinOf(s.certificate) }

// at returns the server that listens on an endpoint, or nil.
func (l *laboratory) at(e endpoint) *listeningServer {
	host := strings.ToLower(e.host)
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return l.servers[net.JoinHostPort(host, e.port)]
}

func (l *laboratory) all() []*listeningServer {
	var all []*listeningServer
	for _, s := range l.servers {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *listeningServer) int { return strings.Compare(a.addr, b.addr) })
	return all
}

// way is how a line says to speak to its server.
type way struct {
	scheme     string
	verify     bool
	trusts     bool // the authority
	pins       []string
	client     string
	serverName string
	own        string // its own options, which make another meaning
}

// isHTTPS tells whether a line speaks HTTPS.
func (r *randomRoute) isHTTPS(l line) bool {
	switch {
	case l.scheme != "":
		return l.scheme == "https"
	case r.tls:
		return true
	}
	return !l.whole && l.to.port == detectedPort
}

// way returns how a line says to speak.
func (r *randomRoute) way(l line) way {
	if !r.isHTTPS(l) {
		if l.scheme == "h2c" || r.h2c {
			return way{scheme: "h2c"}
		}
		return way{scheme: "http"}
	}
	w := way{scheme: "https", client: r.client, serverName: l.name, trusts: r.trusts || l.trusts}
	if l.client != "" {
		w.client = l.client
	}
	if l.pin != "" {
		w.pins = []string{l.pin}
	}
	hasOptions := l.trusts || l.client != "" || l.name != ""
	if hasOptions {
		w.own = fmt.Sprint(l.trusts, l.client, l.name)
	}
	skips := []string{l.skip, "", r.skip}
	if l.group == "staging" {
		skips[1] = r.staging.skip
	}
	for _, skip := range skips {
		if skip != "" {
			w.verify = skip == "off"
			return w
		}
	}
	detected := !l.whole && l.to.port == detectedPort
	w.verify = l.pin != "" || hasOptions || r.tls || !detected
	return w
}

// meaning is what must be the same where two lines have the same address.
func (w way) meaning() string {
	if w.scheme != "https" {
		return w.scheme
	}
	return fmt.Sprint(w.verify, w.pins, w.own)
}

// nameFor is the server name for a host, in a request with a header.
func (w way) nameFor(host string, header http.Header) string {
	switch {
	case w.serverName == "":
		return host
	case strings.HasPrefix(w.serverName, "{"):
		return header.Get(nameField)
	}
	return w.serverName
}

// accepts tells whether a server may be spoken to at all, by the name that is expected.
func (w way) accepts(l *laboratory, s *listeningServer, name string) bool {
	switch {
	case w.scheme != "https" || !w.verify:
		return true
	case len(w.pins) > 0:
		return slices.Contains(w.pins, pinOf(s))
	}
	return w.trusts && name != "" && s.fits(l.ca, name)
}

// differsFrom says what a server saw that is not as the line says; empty if all is.
func (w way) differsFrom(l *laboratory, s *listeningServer, r *http.Request, seen spoken, isCheck bool) string {
	scheme := w.scheme
	if scheme == "h2c" && r.Header.Get("Upgrade") != "" {
		scheme = "http" // upgrades are an HTTP/1.1 matter
	}
	if seen.scheme != scheme {
		return "it says " + scheme
	}
	if scheme != "https" {
		return ""
	}
	at := r.Header.Get(dialField)
	if isCheck {
		at = r.Host
	}
	_, hostPort, found := strings.Cut(at, "/")
	if !found {
		hostPort = at
	}
	name := w.nameFor(parseEndpoint("", hostPort).host, r.Header)
	if !w.accepts(l, s, name) {
		return "the certificate does not fit"
	}
	sent := name
	if _, err := netip.ParseAddr(name); err == nil {
		sent = ""
	}
	if !strings.EqualFold(seen.serverName, sent) {
		return fmt.Sprintf("the server name should be %q", sent)
	}
	if seen.client != w.client {
		return fmt.Sprintf("the client certificate should be %q", w.client)
	}
	return ""
}

// serving returns the lines of a group that requests can go to.
func (r *randomRoute) serving(group string) []line {
	if s := r.sources[group]; s != nil && len(s.addresses) > 0 {
		var lines []line
		for _, address := range s.addresses {
			lines = append(lines, line{group: group, form: literal, dynamic: true, to: endpoint{host: address, port: s.port}})
		}
		return lines
	}
	var lines []line
	for _, l := range r.lines {
		if l.group == group {
			lines = append(lines, l)
		}
	}
	return lines
}

// dialledAt returns the lines of a group that may have sent a request to an address.
func (r *randomRoute) dialledAt(group, dial string, header http.Header) []line {
	network, hostPort, found := strings.Cut(dial, "/")
	if !found {
		network, hostPort = "", dial
	}
	at := parseEndpoint(network, hostPort)
	var lines []line
	for _, l := range r.serving(group) {
		if l.dial(header).key() == at.key() && !r.isLate(l, header) {
			lines = append(lines, l)
		}
	}
	return lines
}

// checkedAt returns the lines whose health checks go to a host and port.
func (r *randomRoute) checkedAt(hostPort string) []line {
	var lines []line
	for _, l := range r.lines {
		for _, to := range []endpoint{l.to, l.atLoad} {
			if l.form != fromHeader && strings.EqualFold(r.checked(to).hostPort(), hostPort) {
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// checked is where the health check of an upstream goes.
func (r *randomRoute) checked(to endpoint) endpoint {
	if r.health != "own" {
		to.port = r.health
	}
	return to
}

// contradicts tells whether two lines have the same address, as far as it is known at load,
// and do not mean the same.
func (r *randomRoute) contradicts() bool {
	meanings := make(map[string]string)
	for _, l := range r.lines {
		if l.form == fromHeader {
			continue
		}
		meaning := r.way(l).meaning()
		if other, taken := meanings[l.atLoad.key()]; taken && other != meaning {
			return true
		}
		meanings[l.atLoad.key()] = meaning
	}
	return false
}

// isLate tells whether a line's address contradicts another one that is written, and this
// is known only with the request.
func (r *randomRoute) isLate(l line, header http.Header) bool {
	if l.dynamic || l.form != fromHeader && l.form != fromFile {
		return false
	}
	at := l.dial(header).key()
	for _, other := range r.lines {
		if other.form != fromHeader && other.form != fromFile && other.to.key() == at && r.way(other).meaning() != r.way(l).meaning() {
			return true
		}
	}
	return false
}

// works tells whether a request can succeed over a line.
func (r *randomRoute) works(lab *laboratory, l line, header http.Header) bool {
	to := l.dial(header)
	s := lab.at(to)
	w := r.way(l)
	return s != nil && s.addr != header.Get(dropField) && !r.isLate(l, header) && w.accepts(lab, s, w.nameFor(to.host, header))
}

// isHealthy tells whether the health check of a line succeeds, if there is one.
func (r *randomRoute) isHealthy(lab *laboratory, l line) bool {
	if r.health == "" || l.dynamic || l.form == fromHeader {
		return true
	}
	if l.to != l.atLoad {
		return false // either may be checked
	}
	to := r.checked(l.to)
	s := lab.at(to)
	w := r.way(l)
	return s != nil && w.accepts(lab, s, w.nameFor(to.host, nil))
}

// groupsFor returns the groups that a request may go to.
func (r *randomRoute) groupsFor(header http.Header) []string {
	want := header.Get("X-Want")
	switch {
	case !r.staging.has, r.staging.when && want == "production", r.staging.split == "0" && (!r.staging.when || want != "staging"):
		return []string{"production"}
	case r.staging.noFallback && (r.staging.when && want == "staging" || r.staging.split == "100"):
		return []string{"staging"}
	}
	return []string{"production", "staging"}
}

// expectation is what a client is to get.
type expectation struct{ success, failure, refusal bool }

// expect says what a client must get for a request, where that is certain.
func (r *randomRoute) expect(lab *laboratory, header http.Header) expectation {
	e := expectation{true, true, true}
	for _, group := range r.groupsFor(header) {
		for _, l := range r.serving(group) {
			works := r.works(lab, l, header)
			e.success = e.success && works && r.isHealthy(lab, l)
			e.failure = e.failure && !works
			e.refusal = e.refusal && r.isLate(l, header)
		}
	}
	return e
}
