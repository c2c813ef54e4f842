// Package lab is what the tests of a whole Caddy share: a Caddy in the test's process or in one of
// its own, the routes that they load into it, and what they ask it.
//
// There can be one Caddy in a process, so that the tests of one package run one after the other.
// They are in several packages, which go test runs beside each other.
package lab

import (
	_ "github.com/caddyserver/caddy/v2/modules/standard" // in every Caddy

	_ "github.com/proxyos/caddy-proxyos" // what is tested
)
