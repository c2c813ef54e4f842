package integration

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

// How an address is written.
const (
	literal    = "literal"
	fromEnv    = "env"    // {env.*}
	fromFile   = "file"   // {file.*}, which may change while the config runs
	fromHeader = "header" // {http.request.header.*}
)

// endpoint is a host and a port, written in one of the ways that mean the same.
type endpoint struct{ network, host, port string }

func (e endpoint) hostPort() string {
	if strings.Contains(e.host, ":") {
		return "[" + e.host + "]:" + e.port
	}
	return e.host + ":" + e.port
}

func (e endpoint) String() string {
	if e.network != "" {
		return e.network + "/" + e.hostPort()
	}
	return e.hostPort()
}

// key tells whether two endpoints are the same address to the operator.
func (e endpoint) key() string { return strings.ToLower(e.hostPort()) }

// line is an upstream as the operator writes it.
type line struct {
	number  int
	group   string
	scheme  string // as written
	form    string
	whole   bool     // the placeholder is the whole address, not only the host
	to      endpoint // what it is, but for a placeholder of the request
	atLoad  endpoint // what it was when the config was loaded, if it is from a file
	folder  string   // of files
	skip    string   // "", on or off
	trusts  bool     // it has a trust pool of its own
	pin     string   // of one of the servers, or of none; empty: not pinned
	client  string   // the name of its client certificate
	name    string   // its server name
	dynamic bool     // it comes from the group's dynamic source
}

func (l line) field() string { return fmt.Sprintf("X-To-%d", l.number) }
func (l line) file() string  { return fmt.Sprintf("%s/%d", l.folder, l.number) }

// text is the address as written.
func (l line) text() string {
	placeholder := ""
	switch l.form {
	case literal:
		if l.scheme != "" {
			return l.scheme + "://" + l.to.hostPort()
		}
		return l.to.String()
	case fromEnv:
		placeholder = "{env." + variable(l.value()) + "}"
	case fromFile:
		placeholder = "{file." + l.file() + "}"
	case fromHeader:
		placeholder = "{http.request.header." + l.field() + "}"
	}
	if l.whole {
		return placeholder
	}
	return placeholder + ":" + l.to.port
}

// value is what the placeholder stands for.
func (l line) value() string { return l.valueFor(l.to) }

func (l line) valueFor(e endpoint) string {
	if l.whole {
		return e.String()
	}
	return strings.TrimSuffix(e.hostPort(), ":"+e.port) // with brackets, where it needs them
}

// variable is the name of an environment variable with a value.
func variable(value string) string {
	return "PROXYOS_RANDOM_" + fmt.Sprintf("%x", value)
}

// dial is what the line dials for a request with a header.
func (l line) dial(header http.Header) endpoint {
	if l.form != fromHeader {
		return l.to
	}
	value := header.Get(l.field())
	if !l.whole {
		return endpoint{host: strings.Trim(value, "[]"), port: l.to.port}
	}
	if network, rest, found := strings.Cut(value, "/"); found {
		return parseEndpoint(network, rest)
	}
	return parseEndpoint("", value)
}

func parseEndpoint(network, hostPort string) endpoint {
	at := strings.LastIndexByte(hostPort, ':')
	return endpoint{network, strings.Trim(hostPort[:max(at, 0)], "[]"), hostPort[at+1:]}
}

// randomRoute is a route and what the test knows of it.
type randomRoute struct {
	id, path string
	named    bool
	tls      bool   // transport http { tls }
	trusts   bool   // the transport has a trust pool
	client   string // the transport's client certificate
	skip     string // the route's skip_tls_verify
	h2c      bool   // versions h2c 2
	staging  stagingOptions
	lines    []line
	sources  map[string]*source // dynamic sources, by group
	options  []string           // what does not bear on the meaning
	health   string             // "" for none, "own", or a port

	authority, resolver string
	clients             map[string]*clientPair
}

type stagingOptions struct {
	has, when, noFallback bool
	split                 string
	skip                  string
}

// source is a dynamic source.
type source struct {
	name, port string
	addresses  []string // none: it fails
}

func (r *randomRoute) hasLines(group string) bool {
	for _, l := range r.lines {
		if l.group == group {
			return true
		}
	}
	return false
}

// write writes the files and environment variables that a route has.
func (r *randomRoute) write() error {
	for _, l := range r.lines {
		switch l.form {
		case fromEnv:
			if err := os.Setenv(variable(l.value()), l.value()); err != nil {
				return err
			}
		case fromFile:
			if err := os.MkdirAll(l.folder, 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(l.file(), []byte(l.value()), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// String is the route as directives of a Caddyfile.
func (r *randomRoute) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("proxyos /%s {", r.path)
	if r.named {
		say("name %s", r.path)
	}
	r.sayGroup(say, "production")
	if r.skip != "" {
		say("skip_tls_verify %s", r.skip)
	}
	if r.staging.has {
		say("staging {")
		r.sayGroup(say, "staging")
		if r.staging.skip != "" {
			say("skip_tls_verify %s", r.staging.skip)
		}
		say("}\ntraffic_split %s", r.staging.split)
		if r.staging.when {
			say("staging_when header X-Want staging\nproduction_when header X-Want production")
		}
		if r.staging.noFallback {
			say("staging_fallback off")
		}
	}
	for _, option := range r.options {
		say("%s", option)
	}
	say("header_up %s %s\nheader_up %s {http.reverse_proxy.upstream.address}\nheader_up %s {http.proxyos.group}", routeField, r.id, dialField, groupField)
	if r.health != "" {
		say("health_uri /health\nhealth_interval 1h\nhealth_headers {\n%s %s\n}", routeField, r.id)
		if r.health != "own" {
			say("health_port %s", r.health)
		}
	}
	r.sayTransport(say)
	say("}")
	return b.String()
}

func (r *randomRoute) sayGroup(say func(string, ...any), group string) {
	for _, l := range r.lines {
		if l.group != group {
			continue
		}
		say("upstream %s {", l.text())
		if l.skip != "" {
			say("skip_tls_verify %s", l.skip)
		}
		if l.trusts {
			say("tls_trust_pool file %s", r.authority)
		}
		if l.pin != "" {
			say("tls_pin %s", l.pin)
		}
		if l.client != "" {
			say("tls_client_auth %s %s", r.clients[l.client].cert, r.clients[l.client].key)
		}
		if l.name != "" {
			say("tls_server_name %s", l.name)
		}
		say("}")
	}
	if s := r.sources[group]; s != nil {
		say("dynamic a {\nname %s\nport %s\nversions ipv4\nresolvers %s\n}", s.name, s.port, r.resolver)
	}
}

func (r *randomRoute) sayTransport(say func(string, ...any)) {
	if !r.tls && !r.h2c {
		return
	}
	say("transport http {")
	if r.tls {
		say("tls")
	}
	if r.trusts {
		say("tls_trust_pool file %s", r.authority)
	}
	if r.client != "" {
		say("tls_client_auth %s %s", r.clients[r.client].cert, r.clients[r.client].key)
	}
	if r.h2c {
		say("versions h2c 2")
	}
	say("}")
}
