package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// Routes in one config. They share servers, and many of them connections.
const routesPerConfig = 100

// Random routes: whoever is reached is spoken to as the line of the upstream says that was
// chosen. The environment variable PROXYOS_RANDOM_ROUTES says how many; 5000 take a minute or
// two. PROXYOS_RANDOM_SEED repeats a run.
func TestRandomRoutesSpeakToEachUpstreamAsWritten(t *testing.T) {
	routes := int(fromEnvironment(t, "PROXYOS_RANDOM_ROUTES", int64(lab.Sized(100, 500, 60))))
	seed := uint64(fromEnvironment(t, "PROXYOS_RANDOM_SEED", time.Now().UnixNano()))
	t.Logf("PROXYOS_RANDOM_SEED=%d repeats this run", seed)
	lab := newLaboratory(t)
	g := &generator{rand.New(rand.NewPCG(seed, 13)), lab, t.TempDir() + "/"}
	s := newServer(t)
	for done := 0; done < routes && !t.Failed(); done += routesPerConfig {
		tryRoutes(t, s, g, done, min(routesPerConfig, routes-done))
	}
	for done := routes; routes >= 500 && done < 5*routes && lab.missing() != "" && !t.Failed(); done += routesPerConfig {
		tryRoutes(t, s, g, done, routesPerConfig) // until the rarest has been, too
	}
	for _, what := range slices.Sorted(maps.Keys(lab.seen)) {
		t.Logf("%7d %s", lab.seen[what], what)
	}
	if missing := lab.missing(); missing != "" && !t.Failed() && routes >= 500 {
		t.Errorf("nothing was %q: the routes are not random enough", missing)
	}
}

// missing returns something that has not happened yet, or nothing.
func (l *laboratory) missing() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range []string{
		"http", "h2c", "https unchecked", "https verified", "https pinned", "client certificate", "own server name",
		"GET", "POST", "upgrade", "retry", "fallback", "health check", "after a reload",
		"rejected at load", "refused with the request", "had to succeed", "had to fail",
	} {
		if l.seen[what] == 0 {
			return what
		}
	}
	return ""
}

func fromEnvironment(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	number, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return number
}

// tryRoutes tries some routes together, and again after a reload in which their addresses
// mean something else.
func tryRoutes(t *testing.T, s *server, g *generator, first, number int) {
	t.Helper()
	var before, after []*randomRoute
	for i := range number {
		route := g.route(fmt.Sprintf("r%d", first+i))
		if err := route.write(); err != nil {
			t.Fatal(err)
		}
		if route.contradicts() {
			mustReject(t, s, g.lab, route)
			continue
		}
		before = append(before, route)
		after = append(after, g.again(route))
	}
	serveRoutes(t, s, g, before)
	serveRoutes(t, s, g, after)
	g.lab.forget()
}

func mustReject(t *testing.T, s *server, lab *laboratory, route *randomRoute) {
	t.Helper()
	lab.count("rejected at load")
	if err := s.Load(quietly(s, route.String())); err == nil || !strings.Contains(err.Error(), "but in a different way") {
		t.Errorf("a route that contradicts itself is loaded with the error %v\n%s", err, route)
	}
}

// quietly is a site without debug logs.
func quietly(s *server, directives string) string {
	return "{\nlog {\nlevel FATAL\n}\n}\n" + s.Site(directives)
}

// serveRoutes loads a config of the routes and sends requests to them all.
func serveRoutes(t *testing.T, s *server, g *generator, routes []*randomRoute) {
	t.Helper()
	g.lab.run(routes)
	var all strings.Builder
	for _, route := range routes {
		if err := route.write(); err != nil {
			t.Fatal(err)
		}
		all.WriteString(route.String())
	}
	if err := s.Load(quietly(s, all.String())); err != nil {
		for _, route := range routes {
			if err := s.Load(quietly(s, route.String())); err != nil {
				t.Errorf("a route that does not contradict itself: %v\n%s", err, route)
			}
		}
		t.Fatalf("loading %d routes: %v", len(routes), err)
	}
	defer g.lab.report(t)
	awaitChecks(t, g.lab, routes)
	for _, route := range routes {
		changeFiles(t, g, route)
	}
	requests := make(chan randomRequest)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for request := range requests {
				request.send(s, g.lab)
			}
		})
	}
	for _, route := range routes {
		for i := range 2 + len(route.lines) {
			requests <- g.request(route, i)
		}
	}
	close(requests)
	clients.Wait()
}

// awaitChecks waits until every upstream that can be has been checked.
func awaitChecks(t *testing.T, lab *laboratory, routes []*randomRoute) {
	t.Helper()
	for _, route := range routes {
		if route.health == "" {
			continue
		}
		for _, l := range route.lines {
			if l.form != fromHeader && route.isHealthy(lab, l) {
				at := route.checked(l.to).hostPort()
				eventually(t, fmt.Sprintf("a health check of %s, by the route\n%s", at, route), func() bool { return lab.hasChecked(route.id, at) })
			}
		}
	}
}

// changeFiles has some of the files that addresses are read from say something else.
func changeFiles(t *testing.T, g *generator, route *randomRoute) {
	t.Helper()
	g.lab.mu.Lock()
	defer g.lab.mu.Unlock()
	lines := slices.Clone(route.lines)
	for i, l := range lines {
		if l.form == fromFile && g.oneIn(2) {
			to := g.target(route, l)
			l.to.host = to.host
			if l.whole {
				l.to = to
			}
			lines[i] = l
		}
	}
	route.lines = lines
	if err := route.write(); err != nil {
		t.Fatal(err)
	}
}

// target is where a placeholder may lead: often where another line does.
func (g *generator) target(route *randomRoute, l line) endpoint {
	if other := oneOf(g, route.lines...); other.form != fromHeader && !g.oneIn(4) && (l.whole || other.to.port == l.to.port) {
		return other.to
	}
	for {
		if to := g.endpoint(); l.whole || to.port == l.to.port {
			return to
		}
	}
}

// randomRequest is a request to a random route.
type randomRequest struct {
	route    *randomRoute
	id       string
	method   string
	upgrades bool
	header   http.Header
}

func (g *generator) request(route *randomRoute, number int) randomRequest {
	r := randomRequest{route: route, id: fmt.Sprintf("%s.%d", route.id, number), method: "GET", header: make(http.Header)}
	switch {
	case g.oneIn(4):
		r.method = "POST"
	case g.oneIn(4):
		r.upgrades = true
		r.header.Set("Connection", "Upgrade")
		r.header.Set("Upgrade", "foo")
	}
	r.header.Set(requestField, r.id)
	r.header.Set("X-Want", oneOf(g, "", "production", "staging", "staging"))
	r.header.Set(nameField, oneOf(g, "app.test", "b.test", "other.test", "nobody.test"))
	if g.oneIn(4) {
		r.header.Set(dropField, oneOf(g, g.lab.all()...).addr)
	}
	for _, l := range route.lines {
		if l.form == fromHeader {
			r.header.Set(l.field(), l.valueFor(g.target(route, l)))
		}
	}
	return r
}

// send sends the request and compares what becomes of it with what is certain.
func (r randomRequest) send(s *server, lab *laboratory) {
	want := r.route.expect(lab, r.header)
	status, err := r.do(s)
	complain := func(what string) {
		lab.complain("%s %s gets %d (%v): %s\n%v\nthe route is\n%s", r.method, r.route.path, status, err, what, r.header, r.route)
	}
	success := http.StatusOK
	if r.upgrades {
		success = http.StatusSwitchingProtocols
	}
	switch {
	case err != nil:
		complain("it fails")
	case want.success && status != success:
		complain("every upstream that it may go to works")
	case want.failure && status < 500:
		complain("no upstream that it may go to works")
	case want.refusal && lab.hasReached(r.id),
		want.refusal && status != http.StatusBadGateway && (r.route.health == "" || status != http.StatusServiceUnavailable): // its check may have failed
		complain(fmt.Sprintf("every address contradicts another one; something was sent: %v", lab.hasReached(r.id)))
	case status == success && !lab.hasReached(r.id):
		complain("no server has seen it")
	}
	switch {
	case want.success:
		lab.count("had to succeed")
	case want.failure:
		lab.count("had to fail")
	}
	if want.refusal {
		lab.count("refused with the request")
	}
}

func (r randomRequest) do(s *server) (status int, err error) {
	var body io.Reader
	if r.method == "POST" {
		body = strings.NewReader("a body")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, s.URL+"/"+r.route.path, body)
	if err != nil {
		return 0, err
	}
	req.Header = r.header.Clone()
	res, err := s.Client.Transport.RoundTrip(req) // the client's own time limit keeps it from upgrades
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		_, err := io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	conn := res.Body.(io.ReadWriter)
	if _, err := io.WriteString(conn, r.id+"\n"); err != nil {
		return 0, err
	}
	if echo, err := bufio.NewReader(conn).ReadString('\n'); echo != r.id+"\n" {
		return 0, fmt.Errorf("after the upgrade comes %q, %w", echo, err)
	}
	return res.StatusCode, nil
}
