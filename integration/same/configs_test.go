package same

import "slices"

// sameOptions are lines of the block that reverse_proxy and proxyos both have, which can be
// put together in any way. Lines of a name are not used together, but for header_up and
// header_down.
var sameOptions = []string{
	"header_up X-Up {upstream_hostport}", "header_up +X-Up added", "header_up -X-Up", "header_up X-Forwarded-For ^7 8", "header_up Host other.test",
	"header_up Host {upstream_hostport}", "header_up -X-Forwarded-*", "header_up X-Real-IP {header.X-Real-IP}", "header_up User-Agent proxy", "header_up -User-Agent", "header_up Connection close",
	"header_up -Via", "header_up Accept-Encoding gzip", "header_up Te trailers", "header_up X-Id {http.request.uuid.nothing}{method}",
	"header_down X-Down {rp.upstream.hostport}", "header_down +Set-Cookie g=h", "header_down -Set-Cookie", "header_down Location inside outside", "header_down -Server",
	"header_down -Content-Type", "header_down >X-Later {rp.status_code}", "header_down X-Retries {rp.retries}", "header_down X-Requests {rp.upstream.requests}", "header_down -Via",
	"trusted_proxies 127.0.0.0/8", "trusted_proxies private_ranges 127.0.0.1", "trusted_proxies 10.0.0.0/8", "flush_interval -1", "flush_interval 1ms",
	"rewrite /new{uri}", "method PUT", "request_buffers 4KB", "request_buffers unlimited", "response_buffers 4KB", "response_buffers unlimited",
	"stream_buffer_size 10KB", "stream_timeout 5s", "lb_retries 1", "lb_try_duration 600ms\nlb_try_interval 400ms", "lb_policy first", "lb_policy header X-Up", "proxy_status_name me.test", "max_fails 2", "unhealthy_status 503",
	"@bad status 4xx 503\nreplace_status @bad 599", "@gone status 404\nhandle_response @gone {\nrespond \"instead of {rp.status_code} {rp.header.Content-Type}\" 410\n}",
	"handle_response {\nheader X-Handled {rp.status_code}\ncopy_response\n}", "@teapot status 418\nhandle_response @teapot {\ncopy_response_headers {\ninclude X-App\n}\nrespond tea\n}",
}

// sameTransportOptions are lines of transport http.
var sameTransportOptions = []string{
	"compression off", "keepalive off", "keepalive 10s", "keepalive_idle_conns_per_host 1", "read_buffer 8KB", "write_buffer 1KB", "max_response_header 2KB", "response_header_timeout 900ms",
	"dial_timeout 2s", "max_conns_per_host 2", "expect_continue_timeout 50ms", "read_timeout 2s", "write_timeout 2s", "proxy_protocol v1", "local_address 127.0.0.1", "forward_proxy_url none",
}

// notLoadable are lines that the upstreams here, or this Caddy, cannot do with.
var notLoadable = []string{"proxy_protocol v1", "forward_proxy_url none"}

// sameConfigs are configurations that each have one option, and those that are more than that.
func sameConfigs() []*sameConfig {
	var all []*sameConfig
	one := []string{"plain"}
	for _, option := range sameOptions {
		all = append(all, &sameConfig{upstreams: one, options: []string{option}})
	}
	for _, option := range sameTransportOptions {
		if !slices.Contains(notLoadable, option) {
			all = append(all, &sameConfig{upstreams: one, transport: []string{option}})
		}
	}
	return append(all,
		&sameConfig{upstreams: []string{"unix"}}, &sameConfig{upstreams: []string{"tls"}}, &sameConfig{upstreams: []string{"h2"}},
		&sameConfig{upstreams: one, trusting: true},
		&sameConfig{upstreams: []string{"dead", "plain"}, options: []string{"lb_policy first"}},
		&sameConfig{upstreams: []string{"plain", "plain"}, shuffled: true, alone: true},
		&sameConfig{upstreams: []string{"plain", "plain"}, options: []string{"lb_policy cookie lb"}, shuffled: true, alone: true},
		&sameConfig{upstreams: one, staging: one, own: []string{"traffic_split 50"}, alone: true},
		&sameConfig{upstreams: one, staging: one, own: []string{"traffic_split 50", "staging_when header X-Up *"}, alone: true},
		&sameConfig{upstreams: one, staging: one, own: []string{"traffic_split 50", "sticky cookie group"}, alone: true},
		&sameConfig{upstreams: one, staging: []string{"dead"}, own: []string{"traffic_split 50"}, alone: true},
		&sameConfig{upstreams: []string{"dead"}},
		&sameConfig{upstreams: []string{"dead", "dead"}, options: []string{"lb_policy first"}, alone: true},
	)
}
