package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes random routes.
type generator struct {
	*rand.Rand
	lab    *laboratory
	folder string
}

func oneOf[T any](g *generator, values ...T) T { return values[g.IntN(len(values))] }

func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

// endpoint returns where a server listens, or nobody, by one of its names.
func (g *generator) endpoint() endpoint {
	e := endpoint{host: oneOf(g, "127.0.0.1", "127.0.0.1", "127.0.0.71", "127.0.0.72", "127.0.0.73"), port: g.lab.ports[0]}
	if g.oneIn(4) {
		e.port = oneOf(g, g.lab.ports...)
	}
	if e.port == detectedPort && e.host == "127.0.0.1" {
		e.host = "127.0.0.71"
	}
	if e.host == "127.0.0.1" {
		e.host = oneOf(g, e.host, e.host, "localhost", "LOCALHOST", "::ffff:127.0.0.1")
	} else if g.oneIn(6) {
		e.host = "::ffff:" + e.host
	}
	return e
}

// route returns a random route.
func (g *generator) route(path string) *randomRoute {
	r := &randomRoute{
		id: path + ".before", path: path, named: g.oneIn(2), sources: make(map[string]*source),
		tls: g.oneIn(2), authority: g.lab.ca.File, resolver: g.lab.names.Addr, clients: g.lab.clients,
	}
	if r.tls {
		r.trusts, r.client = g.oneIn(2), oneOf(g, "", "", "c")
	} else {
		r.h2c = g.oneIn(6)
	}
	r.skip = oneOf(g, "", "", "", "on", "off")
	r.staging.has = g.oneIn(2)
	if r.staging.has {
		r.staging.when, r.staging.noFallback = g.oneIn(2), g.oneIn(3)
		r.staging.split = oneOf(g, "0", "50", "100")
		r.staging.skip = oneOf(g, "", "", "on", "off")
	}
	for i := range 1 + g.IntN(6) {
		group := "production"
		if r.staging.has && g.oneIn(2) {
			group = "staging"
		}
		r.lines = append(r.lines, g.line(r, i, group))
	}
	for _, group := range []string{"production", "staging"} {
		if group == "staging" && !r.staging.has {
			continue
		}
		if has := r.hasLines(group); !has || g.oneIn(8) {
			r.sources[group] = g.source(!has)
		}
	}
	g.balance(r)
	return r
}

// balance adds load balancing, retries and health checks.
func (g *generator) balance(r *randomRoute) {
	add := func(option string) { r.options = append(r.options, option) }
	if g.oneIn(2) {
		add(fmt.Sprintf("lb_retries %d", oneOf(g, 0, 1, 2, 3, 8)))
	}
	if g.oneIn(10) {
		add("lb_try_duration 30ms\nlb_try_interval 5ms")
	}
	if g.oneIn(4) {
		add("lb_policy " + oneOf(g, "first", "random", "round_robin", "least_conn"))
	}
	if g.oneIn(4) {
		add("lb_retry_match {\nmethod GET POST\n}")
	}
	if g.oneIn(4) {
		add(oneOf(g, "fail_duration 0", "fail_duration 1s"))
	}
	switch {
	case g.oneIn(8):
		r.health = oneOf(g, g.lab.ports...)
	case g.oneIn(4):
		r.health = "own"
	}
}

// line returns a random line of a route.
func (g *generator) line(r *randomRoute, number int, group string) line {
	l := line{number: number, group: group, form: literal, folder: g.folder + r.path, to: g.endpoint()}
	if g.oneIn(3) && number > 0 { // an address that the route has already
		if other := oneOf(g, r.lines...); other.form != fromHeader {
			l.to = other.to
		}
	}
	switch g.IntN(8) {
	case 0, 1:
		l.form = fromEnv
	case 2:
		l.form = fromHeader
	case 3:
		l.form = oneOf(g, fromFile, fromHeader)
	}
	if l.form == literal {
		l.scheme = oneOf(g, "", "https", "https", "https", "http", "h2c")
	} else {
		l.whole = !g.oneIn(3) && l.to.port != detectedPort
	}
	l.to.network = ""
	if l.scheme == "" && (l.form == literal || l.whole && l.form != fromHeader) && !strings.Contains(l.to.host, ":") {
		l.to.network = oneOf(g, "", "", "", "tcp", "tcp4")
	}
	l.atLoad = l.to
	l = g.meaning(r, l)
	for _, other := range r.lines { // the same address often means the same
		if l.form != fromHeader && other.to.key() == l.to.key() && other.whole == l.whole && !g.oneIn(4) {
			l.scheme, l.skip, l.trusts, l.pin, l.client, l.name = other.scheme, other.skip, other.trusts, other.pin, other.client, other.name
			if l.scheme != "" || other.scheme != "" {
				l.form, l.to.network, l.atLoad.network = literal, "", ""
			}
		}
	}
	return l
}

// meaning gives a line options of its own.
func (g *generator) meaning(r *randomRoute, l line) line {
	l.skip, l.trusts, l.pin, l.client, l.name = "", false, "", "", ""
	if !r.isHTTPS(l) {
		return l
	}
	switch g.IntN(6) {
	case 0:
		l.skip = oneOf(g, "on", "off")
	case 1, 2: // verified
		l.trusts = true
		if g.oneIn(2) {
			l.skip = "off"
		}
	case 3: // pinned
		l.pin = strings.Repeat("ab", 32)
		server := g.lab.at(l.to)
		if g.oneIn(4) {
			server = oneOf(g, g.lab.all()...)
		}
		if server != nil && !g.oneIn(5) {
			l.pin = pinOf(server)
		}
		l.skip = "off" // wins over what the group or the route may say
	}
	if g.oneIn(4) {
		l.client = oneOf(g, "a", "b")
	}
	if g.oneIn(4) {
		l.name = oneOf(g, "app.test", "b.test", "other.test", "localhost", "{http.request.header."+nameField+"}")
	}
	return l
}

// source returns a random dynamic source.
func (g *generator) source(only bool) *source {
	s := &source{name: oneOf(g, "one.test", "two.test", "three.test", "signed.test", "nowhere.test"), port: oneOf(g, g.lab.ports[0], g.lab.ports[0], detectedPort)}
	if only && s.name == "nowhere.test" {
		s.name = "one.test"
	}
	s.addresses = g.lab.pools[s.name]
	return s
}

// again returns the route with other meanings of the same addresses.
func (g *generator) again(r *randomRoute) *randomRoute {
	next := *r
	next.id = r.path + ".after"
	for range 20 {
		next.lines = nil
		next.skip = oneOf(g, "", "", "", "on", "off")
		for _, l := range r.lines {
			if l.form == literal && l.to.network == "" {
				l.scheme = oneOf(g, "", "https", "https", "http", "h2c")
			}
			l.atLoad = l.to
			next.lines = append(next.lines, g.meaning(&next, l))
		}
		if !next.contradicts() {
			return &next
		}
	}
	next = *r
	next.id = r.path + ".after"
	next.lines = nil
	for _, l := range r.lines {
		l.atLoad = l.to
		next.lines = append(next.lines, l)
	}
	return &next
}
