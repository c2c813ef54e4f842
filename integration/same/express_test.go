package same

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// A plain request may take a short way past reverse_proxy, and nobody can tell: neither the
// upstream, nor the client, nor the log. Each case is one request, which is sent three times:
// over the short way, with `fast_path off`, and through reverse_proxy itself.
type wayCase struct {
	name    string
	options string           // subdirectives of the route
	site    string           // directives beside it; %s is the upstream
	pool    string           // addresses, where it is not one upstream that works; %[1]s works, %[2]s is dead
	request string           // what follows "GET " and the path, up to the end of the header
	script  proxytest.Script // what the upstream does; nil: it answers with a text
	full    bool             // it is not for the short way to answer
	own     bool             // reverse_proxy has no such option, or does otherwise on purpose
}

const (
	// With a type, which net/http would otherwise guess. Where each piece is flushed, that
	// depends on whether the first one comes before the header is: a race, in reverse_proxy, too.
	answered = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
	chunked  = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
)

func send(text string) proxytest.Script {
	return func(x *proxytest.Exchange) { x.Send(text) }
}

// sendAndClose ends the connection where the answer does.
func sendAndClose(text string) proxytest.Script {
	return func(x *proxytest.Exchange) {
		x.Send(text)
		x.Close()
	}
}

var wayCases = []wayCase{
	{name: "a plain answer", request: "/ HTTP/1.1"},
	{name: "an escaped path and a query", request: "/a%2Fb/../c?x=1;y=%20&z HTTP/1.1"},
	{name: "fields of several values", request: "/ HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=b\r\nCookie: c=d", script: send(answered + "Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nVary: X\r\nServer: app\r\n\r\nok")},
	{name: "a status of 204", request: "/ HTTP/1.1", script: send("HTTP/1.1 204 No Content\r\nX-One: 1\r\n\r\n")},
	{name: "a status of 304", request: "/ HTTP/1.1\r\nIf-None-Match: \"x\"", script: send("HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 10\r\n\r\n")},
	{name: "a status of 404", request: "/ HTTP/1.1", script: send("HTTP/1.1 404 Nope\r\nContent-Length: 2\r\n\r\nno")},
	{name: "a status of 400", request: "/ HTTP/1.1", script: send("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 47\r\n\r\nThe plain HTTP request was sent to HTTPS port\r\n"), own: true},
	{name: "chunks", request: "/ HTTP/1.1", script: send(chunked + "2\r\nok\r\n4\r\n and\r\n0\r\n\r\n")},
	{name: "an answer that ends with the connection", request: "/ HTTP/1.1", script: sendAndClose("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")},
	{name: "trailers that are announced", request: "/ HTTP/1.1\r\nTE: trailers", script: send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")},
	{name: "trailers that are not announced", request: "/ HTTP/1.1", script: send(chunked + "2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")},
	{name: "early hints", request: "/ HTTP/1.1", script: send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n" + answered + "X-One: 1\r\n\r\nok"), site: "header X-Own yes"},
	{name: "fields for the next hop, from the client", request: "/ HTTP/1.1\r\nConnection: X-Drop, keep-alive\r\nX-Drop: 1\r\nKeep-Alive: 3\r\nTE: gzip, trailers\r\nProxy-Authorization: x\r\nProxy-Connection: y\r\nAlt-Svc: z"},
	{name: "fields for the next hop, from the upstream", request: "/ HTTP/1.1", script: send(answered + "Connection: X-Drop, keep-alive\r\nX-Drop: 1\r\nKeep-Alive: timeout=3\r\nAlt-Svc: h3\r\nProxy-Authenticate: x\r\nX-One: 1\r\n\r\nok")},
	{name: "no user agent, and a client that drops it", request: "/ HTTP/1.1\r\nConnection: User-Agent, Te\r\nTE: trailers"},
	{name: "proxies before, on both sides", request: "/ HTTP/1.1\r\nVia: 1.0 a, 1.1 b\r\nX-Real-IP: 9.9.9.9", script: send(answered + "Via: 1.1 z\r\n\r\nok")},
	{name: "a client that is not trusted", request: "/ HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil"},
	{name: "a client that is trusted", options: "trusted_proxies 10.0.0.0/8 127.0.0.1", request: "/ HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\nX-Forwarded-Host: b"},
	{name: "a field that a handler before leaves out", site: "request_header X-One 1\nrequest_header -X-Two", request: "/ HTTP/1.1\r\nX-Two: 2"},
	{
		name: "header_up and header_down", request: "/ HTTP/1.1\r\nX-Old: a-b\r\nX-Gone: 1\r\nX-Go: 1",
		options: "header_up Host {upstream_hostport}\nheader_up +X-Dial {http.reverse_proxy.upstream.address}/{http.reverse_proxy.upstream.requests}/{http.reverse_proxy.upstream.fails}/{http.reverse_proxy.status_code}\n" +
			"header_up X-Old a x\nheader_up -X-Go*\nheader_down X-Old {http.reverse_proxy.status_code}-{http.reverse_proxy.header.X-One}-{http.reverse_proxy.upstream.port}\nheader_down -Secret\nheader_down X-One b c",
		script: send(answered + "X-One: ab\r\nSecret: 1\r\n\r\nok"),
	},
	{name: "header_up that asks for an upgrade", options: "header_up Connection Upgrade\nheader_up Upgrade websocket", request: "/ HTTP/1.1", full: true},
	{name: "HTTP/1.0", request: "/ HTTP/1.0", script: send(chunked + "2\r\nok\r\n0\r\n\r\n")},
	{name: "a body that breaks off", request: "/ HTTP/1.1", script: proxytest.CloseWithin("the beginning")},
	{name: "chunks that break off", request: "/ HTTP/1.1", script: sendAndClose(chunked + "2\r\nok\r\n")},
	{name: "an answer that is not HTTP", request: "/ HTTP/1.1", script: sendAndClose("SSH-2.0-OpenSSH\r\n\r\n"), full: true, own: true},
	{name: "no answer", request: "/ HTTP/1.1", script: sendAndClose(""), full: true, own: true},
	{name: "no answer, and a retry", options: "lb_retries 1", request: "/ HTTP/1.1", script: sendAndClose(""), full: true, own: true},
	{name: "no answer, counted by the passive check", options: "fail_duration 1m\nmax_fails 3", request: "/ HTTP/1.1", script: sendAndClose(""), full: true, own: true},
	{name: "an error that a page is for", site: "handle_errors {\nrespond \"{err.status_code} {http.reverse_proxy.upstream.hostport} {http.reverse_proxy.retries}\" {err.status_code}\n}", pool: "%[2]s", request: "/ HTTP/1.1", full: true, own: true},
	{name: "a dead upstream before one that works", pool: "%[2]s %[1]s", request: "/ HTTP/1.1", full: true, own: true},
	{name: "staging that is dead", pool: "%[1]s", options: "staging %[2]s\ntraffic_split 100", request: "/ HTTP/1.1", full: true, own: true},
	{name: "a request that is forced to staging", pool: "%[2]s", options: "staging %[1]s\nstaging_when header X-Crew *", request: "/ HTTP/1.1\r\nX-Crew: 1", own: true},
	{name: "a cookie that keeps a client in staging", pool: "%[2]s", options: "staging %[1]s\ntraffic_split 99.9\nsticky cookie", request: "/ HTTP/1.1", own: true},
	{name: "a switch of protocols that nobody asked for", request: "/ HTTP/1.1", script: sendAndClose("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), full: true},
	{name: "an incremental answer", request: "/ HTTP/1.1\r\nIncremental: ?1", script: send(answered + "Incremental: ?1\r\n\r\nok")},
	{name: "a type of events", request: "/ HTTP/1.1", script: send("HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nContent-Length: 2\r\n\r\nok")},
	{name: "flushed at once", options: "flush_interval -1", request: "/ HTTP/1.1", script: send(answered + "\r\nok")},
	{name: "compressed on the way", site: "encode {\ngzip\nminimum_length 1\n}", request: "/ HTTP/1.1\r\nAccept-Encoding: gzip", script: send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\naaaaaaaaaaaaaaaaaaaa")},
	{name: "a body", request: "/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", full: true},
	{name: "an empty body", request: "/ HTTP/1.1\r\nContent-Length: 0"},
	{name: "a body that is expected", request: "/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0", full: true},
	{name: "an upgrade", request: "/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket", full: true},
	{name: "after forward_auth", site: "forward_auth %[1]s {\nuri /auth\ncopy_headers X-One\n}", request: "/ HTTP/1.1", full: true, script: send(answered + "X-One: 1\r\n\r\nok")},
	{
		name: "before another proxy", request: "/ HTTP/1.1",
		site: "intercept {\n@gone status 404\nhandle_response @gone {\nreverse_proxy %[1]s {\nrewrite /other\nheader_down X-Was \"{http.reverse_proxy.header.X-One},{http.reverse_proxy.header.X-Two}\"\n}\n}\n}",
		script: func(x *proxytest.Exchange) {
			if x.URL.Path == "/other" {
				x.Send(answered + "X-Two: 2\r\n\r\nok")
				return
			}
			x.Send("HTTP/1.1 404 Not Found\r\nX-One: 1\r\nContent-Length: 0\r\n\r\n")
		},
	},
}

// shownPlaceholders are logged after each request. Those in the second list are durations, of
// which only whether they are known is compared.
var (
	shownPlaceholders = []string{"upstream.address", "upstream.hostport", "upstream.host", "upstream.port", "upstream.requests", "upstream.max_requests",
		"upstream.fails", "retries", "status_code", "status_text", "header.X-One", "header.Connection", "header.x-one", "header.None", "is_transport_error"}
	shownDurations = []string{"duration", "duration_ms", "upstream.latency", "upstream.latency_ms", "upstream.duration", "upstream.duration_ms"}
)

func TestNobodyCanTellTheShortWay(t *testing.T) {
	s := newServer(t)
	app := proxytest.NewScripted(t, proxytest.Reply("ok"))
	dead := freeAddr(t)
	name := 0
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		for _, c := range wayCases {
			if c.script == nil {
				c.script = proxytest.Reply("ok")
			}
			if method != "GET" && (c.full || strings.Contains(c.name, "break") || strings.Contains(c.name, "another")) {
				continue
			}
			t.Run(method+" "+c.name, func(t *testing.T) {
				app.Follow(c.script)
				fill := strings.NewReplacer("%[1]s", app.Addr, "%[2]s", dead).Replace
				if c.pool == "" {
					c.pool = "%[1]s"
				}
				proxyos := func(option string) waySeen {
					name++ // a route of the same name would keep what it knows
					return way(t, s, app, method, c, fill(fmt.Sprintf("proxyos %s {\nname app-%d\n%s\n%s\n}\n%s", c.pool, name, option, c.options, c.site)))
				}
				short := proxyos("")
				ways := waysOf(s, fmt.Sprint("app-", name))
				if want := map[bool]uint64{true: 0, false: 1}[c.full]; ways.Short != want {
					t.Errorf("%d requests took the short way, %d went through reverse_proxy; want %d of the former", ways.Short, ways.ReverseProxy, want)
				}
				compare(t, "with `fast_path off`", short, proxyos("fast_path off"))
				if !c.own {
					stock := way(t, s, app, method, c, fill("reverse_proxy "+c.pool+" {\n"+c.options+"\n}\n"+c.site))
					compare(t, "through reverse_proxy", short, stock)
				}
			})
		}
	}
}

// waySeen is what everybody sees of a request.
type waySeen struct{ upstream, client, log string }

func compare(t *testing.T, other string, short, full waySeen) {
	t.Helper()
	for _, c := range []struct{ who, short, full string }{
		{"the upstream gets", short.upstream, full.upstream}, {"the client gets", short.client, full.client}, {"the log has", short.log, full.log},
	} {
		if c.short != c.full {
			t.Errorf("%s\n%s\n%s it is\n%s", c.who, c.short, other, c.full)
		}
	}
}

// way sends the request of a case through a config, and returns what is seen of it.
func way(t *testing.T, s *server, app *proxytest.Scripted, method string, c wayCase, directives string) waySeen {
	t.Helper()
	var shown strings.Builder
	for _, name := range slices.Concat(shownPlaceholders, shownDurations) {
		fmt.Fprintf(&shown, "log_append %q {http.reverse_proxy.%s}\n", "rp "+name, name)
	}
	s.MustLoad(s.Site("log\n" + shown.String() + directives))
	eventually(t, "Caddy has forgotten what failed with the config before", func() bool { return !hasFails(s) })
	s.Logs.Forget()
	before := app.Count()

	request := method + " " + c.request
	if !strings.Contains(request, "\r\n\r\n") {
		request += "\r\n\r\n"
	}
	line, rest, _ := strings.Cut(request, "\r\n")
	client := proxytest.Dial(t, s.Addr)
	client.Send(line + "\r\nHost: " + s.Addr + "\r\n" + rest)
	seen := waySeen{client: readAnswers(client.Reader, method)}
	client.Close()
	eventually(t, "the request is in the access log", func() bool { return len(s.Logs.Entries("handled request")) == 1 })
	for _, r := range app.Requests()[before:] {
		seen.upstream += sorted(r.Header) + r.Body + "\n"
	}
	seen.log = logOfWay(s, c)
	return seen
}

// readAnswers reads an answer, and those that are only informational before it.
func readAnswers(r *bufio.Reader, method string) string {
	var all strings.Builder
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			fmt.Fprintf(&all, "no answer: %v\n", err)
			return all.String()
		}
		body, err := io.ReadAll(res.Body)
		res.Header.Del("Date")
		fmt.Fprintf(&all, "%s %s, length %d %v, close %v, trailer %v\n%q %v\n", res.Proto, res.Status, res.ContentLength, res.TransferEncoding, res.Close, res.Trailer, body, err)
		for _, name := range sortedNames(res.Header) {
			fmt.Fprintf(&all, "%s: %q\n", name, res.Header[name])
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return all.String()
		}
	}
}

func sortedNames(header http.Header) []string {
	var names []string
	for name := range header {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// sorted sorts the lines of a header. It drops X-Real-IP, which is this module's own.
func sorted(header string) string {
	first, rest, _ := strings.Cut(header, "\r\n")
	lines := strings.Split(strings.TrimSpace(rest), "\r\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "X-Real-Ip: ") })
	sort.Strings(lines)
	return first + "\n" + strings.Join(lines, "\n") + "\n"
}

// logOfWay returns what the handlers and the access log have of a request, without times, and
// in any order: where an attempt fails, "selected upstream" is logged after what is said of
// the failure.
func logOfWay(s *server, c wayCase) string {
	var lines []string
	for _, entry := range s.Logs.EntriesWith("logger") {
		logger, _ := entry["logger"].(string)
		message, _ := entry["msg"].(string)
		isAccess := strings.HasPrefix(logger, "http.log.access")
		if !isAccess && !strings.HasPrefix(logger, "http.handlers.") && logger != "http.log.error" || message == "request served" {
			continue
		}
		for _, field := range []string{"ts", "logger", "duration", "err_id", "err_trace", "route"} {
			delete(entry, field)
		}
		for _, name := range shownDurations {
			if value, ok := entry["rp "+name]; ok {
				entry["rp "+name] = value != "" && value != nil
			}
		}
		dropTimes(entry)
		lines = append(lines, fmt.Sprint(entry))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// dropTimes drops from a request in the log what is never the same twice, and X-Real-IP.
func dropTimes(entry logEntry) {
	request, ok := entry["request"].(map[string]any)
	if !ok {
		return
	}
	delete(request, "remote_port")
	if headers, ok := request["headers"].(map[string]any); ok {
		delete(headers, "X-Real-Ip")
	}
}
