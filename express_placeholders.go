package proxyos

import (
	"strings"
	"time"
)

// placeholder provides the placeholders of reverse_proxy for a request that took the short
// way: those that it sets, from when it sets them. Where it takes over, what it sets stands
// before what is provided here.
func (t *expressTrip) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, "http.reverse_proxy.")
	if !ok || t.isAsking.Load() {
		return nil, false
	}
	switch name {
	case "upstream.address":
		return t.to.address, true
	case "upstream.hostport":
		return t.to.host, true
	case "upstream.host":
		return t.to.dialInfo().Host, true
	case "upstream.port":
		return t.to.dialInfo().Port, true
	case "upstream.requests":
		return t.requests, true
	case "upstream.max_requests":
		return t.to.dialInfo().Upstream.MaxRequests, true
	case "upstream.fails":
		return t.fails, true
	case "retries":
		return 0, t.isWhole()
	case "duration":
		return t.took, t.took != 0
	case "duration_ms":
		return milliseconds(t.took), t.took != 0
	}
	return t.ofAnswer(name)
}

// ofAnswer provides the placeholders that there are once the upstream has answered.
func (t *expressTrip) ofAnswer(name string) (any, bool) {
	t.mu.Lock()
	res, latency, passing := t.res, t.latency, t.passing
	t.mu.Unlock()
	if res == nil {
		return nil, false
	}
	switch name {
	case "upstream.latency":
		return latency, true
	case "upstream.latency_ms":
		return milliseconds(latency), true
	case "upstream.duration":
		return passing, passing != 0
	case "upstream.duration_ms":
		return milliseconds(passing), passing != 0
	case "status_code":
		return res.StatusCode, true
	case "status_text":
		return res.Status, true
	}
	field, ok := strings.CutPrefix(name, "header.")
	if !ok || t.isOutdated() {
		return nil, false
	}
	values, ok := res.Header[field]
	if !ok {
		return nil, false
	}
	return strings.Join(values, ","), true
}

// isOutdated tells whether a reverse_proxy after this route has answered the request, which
// replaces all header fields. What it sets stands before what is provided here.
func (t *expressTrip) isOutdated() bool {
	t.isAsking.Store(true)
	defer t.isAsking.Store(false)
	_, later := t.repl.Get("http.reverse_proxy.status_code")
	return later
}

// isWhole tells whether the whole answer has been passed on.
func (t *expressTrip) isWhole() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.passing != 0
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }
