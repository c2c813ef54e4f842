// Command caddy is a standard Caddy with the proxyos module built in.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/proxyos/caddy-proxyos"
)

func main() {
	caddycmd.Main()
}
