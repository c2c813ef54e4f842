// Package faults tests what becomes of requests when an upstream or a client misbehaves, and whom it
// is held against.
package faults

import (
	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// What nearly every test needs, by short names.
type (
	server  = lab.Server
	route   = lab.Route
	backend = proxytest.Backend
)

const (
	production = lab.Production
	staging    = lab.Staging
	quiet      = lab.Quiet
)

var (
	newServer          = lab.NewServer
	run                = lab.Run
	bothForms          = lab.BothForms
	blueGreenDirective = lab.BlueGreenDirective
	plain              = proxytest.Plain
	untrusted          = proxytest.Untrusted
	freeAddr           = proxytest.FreeAddr
	eventually         = proxytest.Eventually
)
