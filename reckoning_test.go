package proxyos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
	"github.com/proxyos/caddy-proxyos/internal/release"
)

// ending is one way in which a request can end.
type ending struct {
	name      string
	upstreams []func(testing.TB) string // of the group that it is for, by preference: they start one and return its address
	options   string                    // of the route
	site      string                    // the route's directive in it is %s; empty: only that
	commit    func(*testing.T, *counting)
	waits     bool           // it takes long: usually, each way is tried in one of the groups
	ends      uint64         // how many requests the route has had afterwards; 0: one
	want      release.Counts // of the group
}

func TestHowARequestEndsSaysHowItCounts(t *testing.T) {
	const (
		ok     = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata:\n\r\n"
		socket = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
		hello  = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	)
	type upstreams = []func(testing.TB) string
	var (
		none   = release.Counts{}
		fine   = release.Counts{Requests: 1, Timed: 1}
		failed = release.Counts{Requests: 1, Failed: 1, Timed: 1}
		opened = release.Counts{Requests: 1}
	)
	good, dead := sends(ok), func(t testing.TB) string { return proxytest.Refused(t) }
	cut := scripted(proxytest.CloseUnanswered)
	for _, e := range []ending{
		{name: "200", upstreams: upstreams{good}, commit: gets(200), want: fine},
		{name: "404", upstreams: upstreams{sends("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")}, commit: gets(404), want: fine},
		{name: "500", upstreams: upstreams{sends("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")}, commit: gets(500), want: failed},
		{name: "HEAD", upstreams: upstreams{sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")}, commit: asks("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200), want: fine},

		{name: "a retry hides a failure", upstreams: upstreams{cut, good}, commit: gets(200), want: failed},
		{name: "a retry hides a 503", upstreams: upstreams{sends("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), good},
			options: "lb_retry_match `{rp.status_code} == 503`", commit: gets(200), want: failed},
		{name: "a retry hides a 404", upstreams: upstreams{sends("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), good},
			options: "lb_retry_match `{rp.status_code} == 404`", commit: gets(200), want: fine},
		{name: "a retry hides a failure of another transport", upstreams: upstreams{dead, fastCGI}, options: "transport fastcgi\nlb_retries 1", commit: gets(200), want: failed},
		{name: "another transport", upstreams: upstreams{fastCGI}, options: "transport fastcgi", commit: gets(200), want: fine},
		{name: "production takes over, if it may", upstreams: upstreams{dead}, commit: gets(0), want: failed},
		{name: "it may not", upstreams: upstreams{dead}, options: "staging_fallback off", commit: gets(502), want: failed},
		{name: "nobody is up", upstreams: upstreams{dead}, commit: func(t *testing.T, c *counting) { gets(0)(t, c); gets(0)(t, c) }, ends: 2,
			want: release.Counts{Requests: 2, Failed: 2, Timed: 2}},
		{name: "a connection ends before an answer, after it was idle", upstreams: upstreams{scripted(func(x *proxytest.Exchange) {
			if x.N > 0 {
				proxytest.CloseUnanswered(x)
				return
			}
			proxytest.Reply("ok")(x)
		})}, commit: func(t *testing.T, c *counting) { gets(200)(t, c); asks(post("hello"), 502)(t, c) }, ends: 2, want: release.Counts{Requests: 2, Failed: 1, Timed: 2}},

		{name: "an answer with a length breaks off", upstreams: upstreams{scripted(proxytest.CloseWithin("begun"))}, commit: getsPart, want: failed},
		{name: "an answer in chunks breaks off", upstreams: upstreams{scripted(func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
			x.Close()
		})}, commit: getsPart, want: failed},
		{name: "an answer in chunks", upstreams: upstreams{sends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n0\r\n\r\n")}, commit: gets(200), want: fine},

		{name: "the client leaves before the answer", upstreams: upstreams{scripted((*proxytest.Exchange).Hang)}, commit: func(t *testing.T, c *counting) {
			conn := c.dial(t)
			c.asks(conn, get)
			proxytest.Eventually(t, "the request is on its way", func() bool { return c.inFlight() == 1 })
			conn.Close()
		}, want: none},
		{name: "the client leaves within the answer", upstreams: upstreams{scripted(func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 10_000))
			x.Hang()
		})}, commit: func(t *testing.T, c *counting) { c.opens(t, get).Close() }, want: none},
		{name: "the client leaves while it is written to", upstreams: upstreams{scripted(func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
			for err := error(nil); err == nil; {
				_, err = x.Conn.Write(make([]byte, 1<<20))
			}
		})}, commit: func(t *testing.T, c *counting) { c.opens(t, get).Reset() }, want: none},
		{name: "the client leaves after a failure that a retry would hide", upstreams: upstreams{cut, scripted((*proxytest.Exchange).Hang)}, commit: func(t *testing.T, c *counting) {
			conn := c.dial(t)
			c.asks(conn, get)
			proxytest.Eventually(t, "the request is on its way", func() bool { return c.inFlight() == 1 })
			conn.Close()
		}, want: none},
		{name: "the client's body cannot be read", upstreams: upstreams{good}, commit: asks("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400), want: none},
		{name: "the client's body is too long", upstreams: upstreams{good}, site: "request_body {\nmax_size 10\n}\n%s", commit: asks("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n"+strings.Repeat("x", 100)+"\r\n0\r\n\r\n", 413), want: none},
		{name: "the client leaves within its body", upstreams: upstreams{good}, commit: func(t *testing.T, c *counting) {
			conn := c.dial(t)
			c.asks(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello")
			proxytest.Eventually(t, "the request is on its way", func() bool { return c.inFlight() == 1 })
			conn.Close()
		}, want: none},
		{name: "an upstream has enough of a client that sends slowly", upstreams: upstreams{scripted(func(x *proxytest.Exchange) {
			_, _ = io.ReadFull(x.Body, make([]byte, 5))
			time.Sleep(2 * slowBody) // which is the point
			x.Close()
		})}, commit: func(t *testing.T, c *counting) {
			conn := c.dial(t)
			c.asks(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello")
			time.Sleep(3 * slowBody) // likewise
			conn.Send(strings.Repeat("x", 95))
			if got := conn.ReadAnswer("POST"); got.StatusCode != 408 {
				t.Errorf("got %d", got.StatusCode)
			}
		}, waits: true, want: none},
		{name: "a body over another transport cannot be read", upstreams: upstreams{fastCGI}, options: "transport fastcgi",
			commit: asks("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0), want: none},
		{name: "a body", upstreams: upstreams{good}, commit: asks(post("hello"), 200), want: fine},
		{name: "a request that cannot be sent", upstreams: upstreams{good}, options: "header_up X-Sent {query.sent}", commit: asks("GET /?sent=a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400), want: none},

		{name: "a WebSocket", upstreams: upstreams{hangsAfter(socket)}, commit: func(t *testing.T, c *counting) {
			conn := c.opens(t, hello)
			c.eventually(t, "it is open", opened)
			conn.Close()
		}, want: opened},
		{name: "a WebSocket that is refused", upstreams: upstreams{sends("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")}, commit: asks(hello, 403), want: fine},
		{name: "a WebSocket that fails", upstreams: upstreams{cut}, commit: asks(hello, 0), want: failed},
		{name: "a WebSocket after a failure that is hidden", upstreams: upstreams{dead, hangsAfter(socket)}, commit: func(t *testing.T, c *counting) {
			conn := c.opens(t, hello)
			c.eventually(t, "it is open", release.Counts{Requests: 1, Failed: 1})
			conn.Close()
		}, want: release.Counts{Requests: 1, Failed: 1}},
		{name: "a stream of events", upstreams: upstreams{hangsAfter(events)}, commit: func(t *testing.T, c *counting) {
			conn := c.opens(t, get)
			c.eventually(t, "it is open", opened)
			conn.Close()
		}, want: opened},
		{name: "a stream of events that breaks off", upstreams: upstreams{scripted(func(x *proxytest.Exchange) { x.Send(events); x.Close() })}, commit: getsPart, want: opened},
		{name: "a stream of events that is a failure", upstreams: upstreams{hangsAfter(strings.Replace(events, "200 OK", "500 No", 1))}, commit: func(t *testing.T, c *counting) {
			conn := c.opens(t, get)
			c.eventually(t, "it is open", release.Counts{Requests: 1, Failed: 1})
			conn.Close()
		}, want: release.Counts{Requests: 1, Failed: 1}},
		{name: "an incremental answer", upstreams: upstreams{hangsAfter(strings.Replace(events, "Content-Type: text/event-stream", "Incremental: ?1", 1))}, commit: func(t *testing.T, c *counting) {
			conn := c.opens(t, get)
			c.eventually(t, "it is open", opened)
			conn.Close()
		}, want: opened},

		{name: "forced", upstreams: upstreams{good}, options: "staging_when header X-Group staging\nproduction_when header X-Group production", commit: func(t *testing.T, c *counting) {
			for _, group := range []string{"staging", "production"} {
				asks("GET / HTTP/1.1\r\nHost: a\r\nX-Group: "+group+"\r\n\r\n", 200)(t, c)
			}
		}, ends: 2, want: none},
		{name: "sticky", upstreams: upstreams{good}, options: "sticky key {http.request.header.X-User}", commit: asks("GET / HTTP/1.1\r\nHost: a\r\nX-User: me\r\n\r\n", 200), want: fine},

		{name: "handed on", upstreams: upstreams{good}, options: "@ok status 2xx\nhandle_response @ok {\n}", site: "route {\n%s\nerror 500\n}", commit: gets(500), want: fine},
		{name: "a failure is handed on", upstreams: upstreams{sends("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")}, options: "@bad status 5xx\nhandle_response @bad {\n}", site: "route {\n%s\nrespond fine\n}", commit: gets(200), want: failed},
		{name: "handle_response hides a failure", upstreams: upstreams{sends("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")}, options: "@bad status 5xx\nhandle_response @bad {\nrespond fine\n}", commit: gets(200), want: failed},
		{name: "handle_response makes a failure", upstreams: upstreams{good}, options: "@ok status 2xx\nhandle_response @ok {\nrespond 500\n}", commit: gets(500), want: failed},
		{name: "handle_response ends in an error", upstreams: upstreams{good}, options: "@ok status 2xx\nhandle_response @ok {\nerror 404\n}", commit: gets(404), want: fine},
		{name: "handle_response breaks off", upstreams: upstreams{good}, options: "@ok status 2xx\nhandle_response @ok {\nabort\n}", commit: func(t *testing.T, c *counting) {
			conn := c.dial(t)
			c.asks(conn, get)
			if text, _ := conn.ReadAll(); text != "" {
				t.Errorf("got %q", text)
			}
		}, want: failed},
	} {
		t.Run(e.name, e.counts)
	}
}

// counts runs the ending in both groups, with and without the fast ways.
func (e ending) counts(t *testing.T) {
	c := &counting{labCaddy: labCaddy{proxytest.NewCaddy(t)}}
	for _, c.group = range []string{"production", "staging"} {
		for _, way := range []string{"on", "off"} {
			if e.waits && (c.group == "production") != (way == "on") && sized(0, 1) == 0 {
				continue
			}
			t.Run(c.group+"/fast_path "+way, func(t *testing.T) {
				c.begin(t, e, "fast_path "+way)
				e.commit(t, c)
				ends := max(e.ends, 1)
				proxytest.Eventually(t, "the route has had the requests", func() bool { return c.inFlight() == 0 && c.ended() >= ends })
				if n := c.ended(); n != ends {
					t.Errorf("the route has had %d requests, want %d", n, ends)
				}
				if got, other := c.counted(); got != e.want || other != (release.Counts{}) {
					t.Errorf("the group has %+v, want %+v; the other has %+v, want none", got, e.want, other)
				}
			})
		}
	}
}

// counting is a route of which one group gets all requests while they are counted.
type counting struct {
	labCaddy
	group string
	loads int
	state *routeState
	round *releaseRound
}

func (c *counting) begin(t *testing.T, e ending, options string) {
	t.Helper()
	var addresses []string
	for _, start := range e.upstreams {
		addresses = append(addresses, start(t))
	}
	these, others, percent := strings.Join(addresses, " "), sends("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")(t), 0
	if strings.Contains(e.options, "fastcgi") {
		others = fastCGI(t)
	}
	if c.group == "staging" {
		these, others, percent = others, these, 100
	}
	c.loads++
	name := fmt.Sprintf("route-%d", c.loads) // of which nothing is known
	directive := fmt.Sprintf("proxyos {\nname %s\nto %s\nlb_policy first\nstaging %s {\nlb_policy first\n}\ntraffic_split %d\n%s\n%s\n}", name, these, others, percent, options, e.options)
	if e.site != "" {
		directive = fmt.Sprintf(e.site, directive)
	}
	c.reload(directive)
	c.state, _ = acquireRouteState(name)
	t.Cleanup(func() { _ = releaseRouteState(name) })
	pace := new(releasePace)
	pace.threshold.Store(int64(time.Hour))
	c.round = newReleaseRound(1, pace)
	c.state.release.Store(c.round)
}

func (c *counting) inFlight() int64 {
	return c.state.production.inFlight.Load() + c.state.staging.inFlight.Load()
}

func (c *counting) ended() uint64 {
	production, _ := c.state.production.totals()
	staging, _ := c.state.staging.totals()
	return production + staging
}

func (c *counting) counted() (group, other release.Counts) {
	total := c.round.total()
	if c.group == "staging" {
		return total.Staging, total.Production
	}
	return total.Production, total.Staging
}

func (c *counting) eventually(t *testing.T, when string, want release.Counts) {
	t.Helper()
	proxytest.Eventually(t, "the request counts when "+when, func() bool { got, _ := c.counted(); return got == want })
}

func (c *counting) dial(t *testing.T) *proxytest.RawConn {
	t.Helper()
	return proxytest.Dial(t, c.Addr)
}

// asks sends a request to the site.
func (c *counting) asks(conn *proxytest.RawConn, request string) {
	conn.Send(strings.Replace(request, "Host: a", "Host: "+c.Addr, 1))
}

// opens sends a request and returns the connection once the header of the answer has come.
func (c *counting) opens(t *testing.T, request string) *proxytest.RawConn {
	t.Helper()
	conn := c.dial(t)
	c.asks(conn, request)
	if _, err := http.ReadResponse(bufio.NewReader(conn.Conn), nil); err != nil { //nolint:bodyclose // the test closes the connection
		t.Fatal(err)
	}
	return conn
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func gets(status int) func(*testing.T, *counting) { return asks(get, status) }

// asks sends a request and wants a status; 0: any.
func asks(request string, status int) func(*testing.T, *counting) {
	method, _, _ := strings.Cut(request, " ")
	return func(t *testing.T, c *counting) {
		t.Helper()
		conn := c.dial(t)
		defer conn.Close()
		c.asks(conn, request)
		if got := conn.ReadAnswer(method); got.Err != nil || got.StatusCode != status && status != 0 {
			t.Errorf("got %d, %v; want %d", got.StatusCode, got.Err, status)
		}
	}
}

// getsPart wants an answer that breaks off.
func getsPart(t *testing.T, c *counting) {
	t.Helper()
	conn := c.dial(t)
	defer conn.Close()
	c.asks(conn, get)
	if got := conn.ReadAnswer("GET"); got.Err == nil {
		t.Errorf("the answer is whole: %d %q", got.StatusCode, got.Text)
	}
}

func scripted(script proxytest.Script) func(testing.TB) string {
	return func(t testing.TB) string { return proxytest.NewScripted(t, script).Addr }
}

func sends(text string) func(testing.TB) string {
	return scripted(func(x *proxytest.Exchange) {
		_ = x.ReadBody()
		x.Send(text)
	})
}

func hangsAfter(text string) func(testing.TB) string {
	return scripted(func(x *proxytest.Exchange) {
		x.Send(text)
		x.Hang()
	})
}

func fastCGI(t testing.TB) string {
	listener := proxytest.Listen(t, "")
	go func() { _ = fcgi.Serve(listener, http.HandlerFunc(proxytest.Greet)) }()
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

func TestOnlyProductionsRequestsAreItsPace(t *testing.T) {
	c := &counting{labCaddy: labCaddy{proxytest.NewCaddy(t)}}
	for _, c.group = range []string{"production", "staging"} {
		c.begin(t, ending{upstreams: []func(testing.TB) string{sends("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}}, "")
		c.round.pace.threshold.Store(1)
		gets(200)(t, c)
		c.eventually(t, "it has ended", release.Counts{Requests: 1, Timed: 1, Slow: 1})
		if _, n := c.round.pace.durations.Quantile(1); n == 1 != (c.group == "production") {
			t.Errorf("%s: %d durations are production's", c.group, n)
		}
	}
}

// A limit on the time of a request ends it where an upstream is too slow, and says so; that the
// client has left does not.
func TestAnUpstreamThatIsTooSlowForALimitHasFailed(t *testing.T) {
	config := benchProxyos("http")
	config["upstreams"] = encode([]string{scripted((*proxytest.Exchange).Hang)(t)})
	config["traffic_split"] = encode(0)
	handler := provisionBench[*Handler](t, "http.handlers.proxyos", config)
	for _, test := range []struct {
		limit func(context.Context) (context.Context, context.CancelFunc)
		want  release.Counts
	}{
		{func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		}, release.Counts{Requests: 1, Failed: 1}},
		{func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}, release.Counts{}},
	} {
		round := newReleaseRound(1, new(releasePace))
		handler.route.state.release.Store(round)
		ctx, cancel := test.limit(t.Context())
		defer cancel()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://a/", nil)
		_ = handler.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, benchServer), nil)
		if got := round.total().Production; got != test.want {
			t.Errorf("%v: %+v, want %+v", context.Cause(ctx), got, test.want)
		}
	}
}

// A WebSocket over HTTP/2 asks for a tunnel, and is answered with 200.
func TestATunnelCountsOnceAndWhenItBegins(t *testing.T) {
	for _, test := range []struct {
		method      string
		status      int
		begun, over release.Counts
	}{
		{http.MethodConnect, 200, release.Counts{Requests: 1}, release.Counts{Requests: 1}},
		{http.MethodConnect, 502, release.Counts{}, release.Counts{Requests: 1, Failed: 1, Timed: 1}},
		{http.MethodGet, 200, release.Counts{}, release.Counts{Requests: 1, Timed: 1}},
	} {
		pace := new(releasePace)
		pace.threshold.Store(int64(time.Hour))
		round := newReleaseRound(1, pace)
		var r reckoning
		r.begin(decision{toStaging: true, round: round}, test.method)
		r.answer(test.status, http.Header{})
		if got := round.total().Staging; got != test.begun {
			t.Errorf("%s %d begins: %+v, want %+v", test.method, test.status, got, test.begun)
		}
		r.isBack = true
		for range 2 {
			r.end(t.Context(), test.status, true, time.Second)
		}
		if got := round.total().Staging; got != test.over {
			t.Errorf("%s %d ends: %+v, want %+v", test.method, test.status, got, test.over)
		}
	}
}

// A client may leave as soon as it has all of its answer.
func TestAnAnswerThatIsWholeCountsThoughTheClientHasLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name             string
		r                reckoning
		isPassed         bool
		status, requests int
	}{
		{"whole", reckoning{isBack: true}, true, 500, 1},
		{"broken off", reckoning{}, true, 200, 0},
		{"not written", reckoning{isBack: true, isLost: true}, true, 200, 0},
		{"an error that nobody waits for", reckoning{isBack: true}, false, 502, 0},
		{"gone before", reckoning{isBack: true}, true, statusClientGone, 0},
	} {
		test.r.round = newReleaseRound(1, new(releasePace))
		round := test.r.round
		test.r.end(ctx, test.status, test.isPassed, time.Second)
		if got := round.total().Production.Requests; got != int64(test.requests) {
			t.Errorf("%s: %d requests count, want %d", test.name, got, test.requests)
		}
	}
}

// Otherwise a request of the share before would count in the round of the one after.
func TestARequestCountsInTheRoundInWhichItWasDecided(t *testing.T) {
	state := newRouteState()
	r := &route{state: state, staging: new(group), split: state.splitter(50, ""), cohorts: newCohorts(&Sticky{Key: "{a}"}, "app", state)}
	before, after := newReleaseRound(1, new(releasePace)), newReleaseRound(2, new(releasePace))
	state.release.Store(before)
	req := keyedRequest(t, "")
	repl := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Map(func(string) (any, bool) {
		state.release.Store(after)
		return "me", true
	})
	if d := r.decide(req); d.round != before {
		t.Error("the round is not the one before")
	}
	if d := r.decide(req); d.round != after {
		t.Error("the next request is not of the round after")
	}
}

func TestAWriteThatFailsIsRemembered(t *testing.T) {
	var a answerWriter
	a.ResponseWriter = deaf{httptest.NewRecorder()}
	_, _ = a.Write([]byte("x"))
	if !a.reckoning.isLost {
		t.Error("the client counts as one that could be written to")
	}
}

// deaf is a client that takes nothing.
type deaf struct{ http.ResponseWriter }

func (deaf) Write([]byte) (int, error) { return 0, net.ErrClosed }
