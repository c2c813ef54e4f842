package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"text/template"
)

// idlePerUpstream is how many idle connections to each upstream proxyos keeps by default.
const idlePerUpstream = 256

// contender is a proxy to measure: how it is configured and started.
type contender struct {
	flag   string // its name on the command line
	name   string
	about  string // for the reader of the results
	config string // a template of its configuration file
	start  func(ctx context.Context, l *lab, config string, s site) (*process, error)
}

// site is what a proxy has to do: listen, and send nine of ten requests to production and one to
// staging.
type site struct {
	Listen, Admin       string
	Production, Staging string
	TLS                 bool     // towards the upstreams
	Headers             bool     // whether fields of requests and answers change
	Options             []string // of the Caddys' directives
	Weights             [2]int
	Dir                 string
	Root                bool // whether this runs as root
}

// Port is the port that the proxy listens on.
func (s site) Port() string {
	_, port, _ := net.SplitHostPort(s.Listen)
	return port
}

const (
	proxyosName  = "proxyos"
	stockName    = "reverse_proxy"
	stockIdleFor = "reverse_proxy, idle %d"
	offName      = "proxyos, fast_path off"
	gogcName     = "proxyos, GOGC=400"
	nginxName    = "nginx"
	haproxyName  = "haproxy"
	traefikName  = "traefik"
)

var stockIdleName = fmt.Sprintf(stockIdleFor, idlePerUpstream)

// contenders are the proxies that are measured beside each other.
func contenders() []contender {
	return []contender{
		{"proxyos", proxyosName, "this module at its defaults: staging and traffic_split 10", caddyfile(proxyosSite), startCaddy},
		{"stock", stockName, "Caddy's reverse_proxy at its defaults: weighted_round_robin 9 1", caddyfile(stockSite("")), startCaddy},
		{"stock-idle", stockIdleName, fmt.Sprintf("the same with keepalive_idle_conns_per_host %d, like proxyos", idlePerUpstream),
			caddyfile(stockSite(fmt.Sprintf("keepalive_idle_conns_per_host %d", idlePerUpstream))), startCaddy},
		{"nginx", nginxName, "upstream with weights 9 and 1, keepalive, a worker for each core", nginxConfig, startNginx},
		{"haproxy", haproxyName, "balance roundrobin with weights 9 and 1, http-reuse always, a thread for each core", haproxyConfig, startHAProxy},
		{"proxyos-off", offName, "proxyos without its fast ways", caddyfile(proxyosSiteWith("fast_path off")), startCaddy},
		{"proxyos-gogc400", gogcName, "proxyos with GOGC=400 in its environment", caddyfile(proxyosSite), startCaddyIn("GOGC=400")},
		{"traefik", traefikName, traefikVersion() + ", servers with weights 9 and 1 from a file; it keeps 200 idle connections to each upstream", traefikConfig, startTraefik},
	}
}

// ordinary is how many contenders are measured if none is named: those that need no reason of
// their own, and no long build.
const ordinary = 5

func contenderFlags() []string {
	var flags []string
	for _, c := range contenders() {
		flags = append(flags, c.flag)
	}
	return flags
}

// contenderOf returns the proxy of that name on the command line.
func contenderOf(flag string) (contender, error) {
	for _, c := range contenders() {
		if c.flag == flag {
			return c, nil
		}
	}
	return contender{}, fmt.Errorf("there is no proxy %q; name one of %s", flag, strings.Join(contenderFlags(), ", "))
}

// chosenContenders returns the proxies with the given names of the command line.
func chosenContenders(names []string) ([]contender, error) {
	if len(names) == 0 {
		return contenders()[:ordinary], nil
	}
	var chosen []contender
	for _, name := range names {
		c, err := contenderOf(name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}

// isCaddy tells whether the proxy is a Caddy, so that the options of its directives mean the same.
func (c contender) isCaddy() bool {
	return c.name != nginxName && c.name != haproxyName && c.name != traefikName
}

// run starts the proxy in the lab.
func (c contender) run(ctx context.Context, l *lab, s site) (*process, error) {
	s.Dir, s.Root = l.dir, os.Geteuid() == 0
	parsed, err := template.New(c.name).Parse(c.config)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := parsed.Execute(&text, s); err != nil {
		return nil, err
	}
	path, err := l.write(strings.Map(fileName, c.name)+".conf", text.String())
	if err != nil {
		return nil, err
	}
	p, err := c.start(ctx, l, path, s)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	return p, nil
}

func fileName(r rune) rune {
	if r == ' ' || r == ',' {
		return '-'
	}
	return r
}

func startCaddy(ctx context.Context, l *lab, config string, s site) (*process, error) {
	return l.start(ctx, "caddy", s.Listen, l.caddy, "run", "--config", config, "--adapter", "caddyfile")
}

// startCaddyIn returns a function that starts a Caddy with a variable in its environment.
func startCaddyIn(variable string) func(context.Context, *lab, string, site) (*process, error) {
	return func(ctx context.Context, l *lab, config string, s site) (*process, error) {
		return l.start(ctx, "caddy", s.Listen, "env", variable, l.caddy, "run", "--config", config, "--adapter", "caddyfile")
	}
}

func startNginx(ctx context.Context, l *lab, config string, s site) (*process, error) {
	return l.start(ctx, nginxName, s.Listen, "nginx", "-p", l.dir, "-c", config, "-e", "stderr")
}

func startHAProxy(ctx context.Context, l *lab, config string, s site) (*process, error) {
	return l.start(ctx, haproxyName, s.Listen, "haproxy", "-db", "-f", config)
}

// caddyfile returns the template of a Caddyfile whose one site does what is given.
func caddyfile(handler string) string {
	return `{
	admin {{.Admin}}
	auto_https off
	persist_config off
}
http://:{{.Port}} {
	bind 127.0.0.1
` + handler + `
}
`
}

const proxyosSite = `	proxyos {{if .TLS}}https://{{end}}{{.Production}} {
		staging {{if .TLS}}https://{{end}}{{.Staging}}
		traffic_split 10
		{{if .TLS}}skip_tls_verify{{end}}
		{{range .Options}}{{.}}
		{{end}}
	}`

// proxyosSiteWith is proxyosSite with one more option.
func proxyosSiteWith(option string) string {
	return strings.TrimSuffix(proxyosSite, "}") + "\t" + option + "\n\t}"
}

// proxyosIdleSite is proxyosSite with another number of idle connections.
func proxyosIdleSite(idle int) string {
	return proxyosSiteWith(fmt.Sprintf("transport http {\n\t\t\tkeepalive_idle_conns_per_host %d\n\t\t}", idle))
}

func stockSite(option string) string {
	return `	reverse_proxy {{.Production}} {{.Staging}} {
		lb_policy weighted_round_robin {{index .Weights 0}} {{index .Weights 1}}
		transport http {
			` + option + `
			{{if .TLS}}tls_insecure_skip_verify{{end}}
		}
		{{range .Options}}{{.}}
		{{end}}
	}`
}

const nginxHead = `daemon off;
{{if .Root}}user root;{{end}}
worker_processes auto;
worker_rlimit_nofile 8192;
pid {{.Dir}}/nginx.pid;
error_log stderr crit;
events {
	worker_connections 8192;
}
http {
	access_log off;
	client_body_temp_path {{.Dir}}/nginx-body;
	proxy_temp_path {{.Dir}}/nginx-proxy;
	fastcgi_temp_path {{.Dir}}/nginx-fastcgi;
	uwsgi_temp_path {{.Dir}}/nginx-uwsgi;
	scgi_temp_path {{.Dir}}/nginx-scgi;
	keepalive_requests 100000000;
	proxy_max_temp_file_size 0;
	proxy_request_buffering off;
	client_max_body_size 0;
`

const nginxServer = `	server {
		listen {{.Listen}} backlog=4096;
		location / {
			proxy_pass {{if .TLS}}https{{else}}http{{end}}://$$UPSTREAM$$;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_set_header X-Real-IP $remote_addr;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Host $http_host;
			proxy_set_header X-Forwarded-Proto $scheme;
			{{if .Headers}}
			proxy_set_header Cookie "";
			proxy_hide_header Server;
			add_header X-Frame-Options DENY;
			{{end}}
		}
	}
}
`

// nginxConfig keeps up to 1,024 idle connections in each worker, for both upstreams.
var nginxConfig = nginxHead + `	upstream app {
		zone app 64k;
		server {{.Production}} weight={{index .Weights 0}};
		server {{.Staging}} weight={{index .Weights 1}};
		keepalive 1024;
		keepalive_requests 100000000;
	}
` + strings.ReplaceAll(nginxServer, "$$UPSTREAM$$", "app")

// nginxSplitConfig is nginx's other way to split traffic: by a hash of a random request ID.
var nginxSplitConfig = nginxHead + `	split_clients $request_id $group {
		10% staging;
		* production;
	}
	upstream production {
		server {{.Production}};
		keepalive 1024;
		keepalive_requests 100000000;
	}
	upstream staging {
		server {{.Staging}};
		keepalive 1024;
		keepalive_requests 100000000;
	}
` + strings.ReplaceAll(nginxServer, "$$UPSTREAM$$", "$group")

const haproxyConfig = `global
	maxconn 4000
	ssl-server-verify none
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	http-reuse always
	option forwardfor
frontend in
	bind {{.Listen}}
	default_backend app
backend app
	balance roundrobin
	http-request set-header X-Real-IP %[src]
	http-request set-header X-Forwarded-Proto http
	http-request set-header X-Forwarded-Host %[req.hdr(Host)]
	{{if .Headers}}
	http-request del-header Cookie
	http-response del-header Server
	http-response set-header X-Frame-Options DENY
	{{end}}
	server production {{.Production}} weight {{index .Weights 0}} {{if .TLS}}ssl verify none{{end}}
	server staging {{.Staging}} weight {{index .Weights 1}} {{if .TLS}}ssl verify none{{end}}
`
