package same

import (
	"fmt"
	"slices"
	"strings"
)

// sameConfig is a configuration that all three ways have. What proxyos does by itself is
// written out for reverse_proxy: see counterpart.
type sameConfig struct {
	upstreams []string            // by kind: plain, unix, tls (HTTP/1.1), h2 (HTTP/2 over TLS), dead
	staging   []string            // the same
	options   []string            // lines of the block
	transport []string            // lines of transport http
	own       []string            // lines that only proxyos has
	extra     map[string][]string // lines of one way, by its kind: to see that it is found
	alone     bool                // reverse_proxy has nothing like it: only both ways of proxyos are compared
	shuffled  bool                // which upstream comes first is left to chance
	trusting  bool                // the server trusts the client's X-Forwarded-For
}

// over tells whether the upstreams are of a kind. They are all of one kind, but for dead ones.
func (c *sameConfig) over(kind string) bool {
	return slices.Contains(c.upstreams, kind) || slices.Contains(c.staging, kind)
}

// isSecure tells whether the upstreams speak TLS.
func (c *sameConfig) isSecure() bool { return c.over("tls") || c.over("h2") }

// handler is the directive for proxyos or for reverse_proxy, for the upstreams of a way.
func (c *sameConfig) handler(name, kind string, upstreams []*sameBackend) string {
	var b strings.Builder
	b.WriteString(name)
	for _, upstream := range upstreams[:len(c.upstreams)] {
		b.WriteString(" " + c.address(upstream))
	}
	b.WriteString(" {\n")
	lines := slices.Clone(c.options)
	if name == "proxyos" {
		lines = append(lines, c.own...)
		for _, upstream := range upstreams[len(c.upstreams):] {
			lines = append(lines, "staging "+c.address(upstream))
		}
	} else {
		lines = append(c.counterpart(), lines...)
	}
	lines = append(lines, c.extra[kind]...)
	transport := slices.Clone(c.transport)
	if c.isSecure() {
		transport = append(transport, "tls_insecure_skip_verify")
	}
	if c.over("tls") {
		transport = append(transport, "versions 1.1")
	}
	if len(transport) > 0 {
		lines = append(lines, "transport http {\n"+strings.Join(transport, "\n")+"\n}")
	}
	return b.String() + strings.Join(lines, "\n") + "\n}\n"
}

// counterpart are the lines that give reverse_proxy the defaults of proxyos. Each is a row of
// the table "Defaults" in docs/differences.md.
func (c *sameConfig) counterpart() []string {
	lines := []string{"header_up X-Real-IP {client_ip}"} // X-Real-IP
	if c.isSecure() {
		lines = append(lines, "header_up Host {hostport}") // Host for HTTPS upstreams
	}
	if len(c.upstreams) < 2 {
		return lines
	}
	for _, line := range []string{
		"lb_policy round_robin", // Choice of an upstream
		"lb_retries 2",          // Retries, with two or more upstreams
		"fail_duration 10s",     // A failed upstream is avoided, with two or more
	} {
		name, _, _ := strings.Cut(line, " ")
		if !c.says(name) {
			lines = append(lines, line)
		}
	}
	return lines
}

// says tells whether the configuration has a line of a name.
func (c *sameConfig) says(name string) bool {
	return slices.ContainsFunc(c.options, func(line string) bool { return strings.HasPrefix(line, name+" ") })
}

func (c *sameConfig) address(b *sameBackend) string {
	switch {
	case b.kind == "unix":
		return "unix/" + b.addr
	case c.isSecure():
		return "https://" + b.addr
	}
	return "http://" + b.addr
}

// String describes the configuration, with the kind of each upstream for its address.
func (c *sameConfig) String() string {
	var upstreams []*sameBackend
	for i, kind := range append(slices.Clone(c.upstreams), c.staging...) {
		upstreams = append(upstreams, &sameBackend{kind: kind, addr: fmt.Sprintf("<%s-%d>", kind, i)})
	}
	text := c.handler("proxyos", "", upstreams)
	if c.trusting {
		text += "servers { trusted_proxies static 127.0.0.0/8 }\n"
	}
	return text
}
