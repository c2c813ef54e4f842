package proxyos

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// express is the short way of a plain route: past reverse_proxy, for requests that need
// nothing of what only it can do. A request goes there and back once. The first thing that
// goes wrong before there is an answer hands it over to reverse_proxy, with that attempt
// counted as made (handedAttempt), so that retries, the fallback, errors and health exist once.
//
// These are the steps of reverse_proxy, in its order, and what becomes of each:
//
//	in reverse_proxy         here
//	ServeHTTP
//	  prepareRequest         expressTrip.prepare; see express_request.go for its steps
//	  extended CONNECT       not plain: isPlain
//	  body kept for retries  not plain: isPlain
//	  {…duration}, {…retries} expressTrip.placeholder, which is asked only if somebody wants to know
//	proxyLoopIteration
//	  dynamic upstreams      not plain: plan.keptOffExpress
//	  Select                 journey.attempt, which our selectionPolicy asks, too
//	  fillDialInfo           at load, since the address is a literal one: newExpress
//	  "selected upstream"    logged after the round trip: where it fails, reverse_proxy logs it
//	  {….upstream.…}         expressTrip.placeholder
//	  header_up              headers.HeaderOps, on the request's only header
//	  incremental requests   they concern bodies, of which there are none
//	  WebSocket spelling     not plain, also where header_up asks for an upgrade
//	reverseProxy
//	  countRequest           hostRequests; the count by address apart from Caddy's hosts is left
//	                         out, which shows requests that outlive their upstream's config
//	  directRequest          two fields of the URL; without the PROXY protocol, which is not plain
//	  1xx                    expressTrip.informed
//	  dial info in context   expressTrip.Value
//	  RoundTrip              transport.RoundTrip, our guest's: breaker, hints and blame are there
//	  "upstream roundtrip"   expressTrip.log; a failed one is reverse_proxy's to log
//	  circuit breaker        not plain
//	  unhealthy_status, …    not plain; failures are counted by reverse_proxy, which gets them
//	  response_buffers       not plain
//	  {….header.…}, …        expressTrip.placeholder
//	  lb_retry_match         not plain
//	  handle_response        not plain
//	finalizeResponse
//	  hop-by-hop, header_down, Via, Trailer   expressAnswer.header
//	  101                    handed over with the answer, since it was not asked for
//	  copyResponse           expressAnswer.copy; flush_interval above 0 is not plain
//	  an answer that breaks off               expressAnswer.breakOff
//	  trailers               expressAnswer.trailers
//	back in proxyLoopIteration
//	  context.Canceled, countFailure, tryAgain   reverse_proxy's: whatever goes wrong
type express struct {
	route   *route
	trusted []netip.Prefix         // of trusted_proxies
	up      *headers.HeaderOps     // header_up; nil if there is none
	down    *headers.RespHeaderOps // header_down; nil if there is none
	logger  *zap.Logger
}

// newExpress returns the short way of a route whose reverse proxy is provisioned, or nil if
// there is none.
func newExpress(r *route, p *plan) *express {
	if len(p.keptOff) > 0 {
		return nil
	}
	e := &express{route: r, logger: r.logger}
	for _, text := range r.proxy.TrustedProxies {
		one, err := parseRange(text)
		if err != nil {
			return nil // which provisioning has found before
		}
		e.trusted = append(e.trusted, one)
	}
	if ops := r.proxy.Headers; ops != nil {
		e.up, e.down = ops.Request, ops.Response
	}
	total := len(r.proxy.Upstreams)
	for _, g := range r.groups {
		for _, at := range g.targets {
			var err error
			if at.stop, err = newExpressStop(at.upstream, total); err != nil {
				return nil // which reverse_proxy says to each request
			}
		}
	}
	return e
}

// parseRange parses an address, or a range of them in CIDR notation.
func parseRange(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	one, err := netip.ParseAddr(text)
	return netip.PrefixFrom(one, one.BitLen()), err
}

// expressStop is what the short way knows of an upstream.
type expressStop struct {
	info    any    // a reverseproxy.DialInfo, as a context's value
	address any    // likewise, as a placeholder's value
	host    string // and port, to dial
	counted hostRequests
	total   int // how many upstreams the route has, for the log
}

func newExpressStop(upstream *reverseproxy.Upstream, total int) (*expressStop, error) {
	parsed, err := caddy.ParseNetworkAddress(upstream.Dial)
	if err != nil {
		return nil, err
	}
	info := reverseproxy.DialInfo{Upstream: upstream, Network: parsed.Network, Address: parsed.JoinHostPort(0), Host: parsed.Host, Port: portText(parsed.StartPort)}
	return &expressStop{info: info, address: info.String(), host: info.Address, counted: requestsOf(upstream.Host), total: total}, nil
}

func (s *expressStop) dialInfo() reverseproxy.DialInfo { return s.info.(reverseproxy.DialInfo) }

// isPlain tells whether a request can take the short way: it has no body, asks for no other
// protocol, and no proxy has had it before, whose placeholders would stand before ours.
func isPlain(r *http.Request) bool {
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 || r.Method == http.MethodConnect ||
		len(r.Header["Upgrade"]) > 0 || len(r.Header["Expect"]) > 0 {
		return false
	}
	vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	return ok && vars[varOfProxies] == nil && vars[varOfExpress] == nil
}

// The variables that a request has if it has been through reverse_proxy, or took the short
// way, which is the trip.
const (
	varOfProxies = "reverse_proxy.proxy_protocol_info"
	varOfExpress = "proxyos.express"
)

// serve proxies a plain request.
func (e *express) serve(w http.ResponseWriter, req *http.Request, next caddyhttp.Handler, d decision) (err error) {
	t := &expressTrip{way: e}
	j := &t.journey
	j.begin(e.route, w, req, d)
	defer func() {
		t.uncount()
		j.finish(req.Context(), err)
	}()
	res := t.send(req)
	if res == nil {
		return e.route.throughProxy(j, req, next)
	}
	j.short = true
	defer t.end()
	answer := expressAnswer{trip: t, to: &j.answer, res: res}
	answer.pass()
	j.answer.reckoning.isBack = true
	return nil
}

// send sends a request to an upstream. It returns nil if it hands the journey over.
func (t *expressTrip) send(req *http.Request) *http.Response {
	e, j := t.way, &t.journey
	t.prepare(req)
	upstream := j.attempt(t.out, &j.answer)
	if upstream == nil {
		return t.handOver(handedAttempt{})
	}
	t.to = j.target.stop
	t.out.URL.Host = t.to.host
	t.requests, t.fails = upstream.NumRequests(), upstream.Fails()
	j.repl.Map(t.placeholder)
	if e.up != nil {
		asCopied(t.out)
		e.up.ApplyToRequest(t.out)
		if len(t.out.Header["Upgrade"]) > 0 {
			return t.handOver(handedAttempt{upstream: upstream})
		}
	}
	t.to.counted.add(1)
	t.isCounted = true
	t.began = time.Now()
	res, err := e.route.transport.RoundTrip(t.out)
	t.returned(res)
	if err != nil || res.StatusCode == http.StatusSwitchingProtocols {
		t.uncount()
		return t.handOver(handedAttempt{upstream: upstream, isSent: true, res: res, err: err})
	}
	if c := e.logger.Check(zapcore.DebugLevel, "selected upstream"); c != nil {
		c.Write(zap.String("dial", t.to.host), zap.Int("total_upstreams", t.to.total))
	}
	if c := e.logger.Check(zapcore.DebugLevel, "upstream roundtrip"); c != nil {
		c.Write(append(t.logged(), zap.Object("headers", caddyhttp.LoggableHTTPHeader{Header: res.Header, ShouldLogCredentials: t.logsCredentials()}), zap.Int("status", res.StatusCode))...)
	}
	return res
}

// handedAttempt is an attempt that reverse_proxy takes over, as if it had made it itself.
type handedAttempt struct {
	upstream *reverseproxy.Upstream // nil: there was none to pick
	isPicked bool                   // reverse_proxy knows
	isSent   bool                   // there is an outcome, which it does not know yet:
	res      *http.Response
	err      error
}

// pick returns the upstream of the attempt the first time that it is asked.
func (a *handedAttempt) pick() (upstream *reverseproxy.Upstream, isFirst bool) {
	if a == nil || a.isPicked {
		return nil, false
	}
	a.isPicked = true
	return a.upstream, true
}

// outcome returns what came of the attempt, once.
func (a *handedAttempt) outcome() (res *http.Response, err error, isKnown bool) {
	if a == nil || !a.isSent {
		return nil, nil, false
	}
	a.isSent = false
	return a.res, a.err, true
}
