// Command caddy is a Caddy with the module and the Redis storage.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/pberkel/caddy-storage-redis"

	_ "github.com/proxyos/caddy-proxyos"
)

func main() { caddycmd.Main() }
