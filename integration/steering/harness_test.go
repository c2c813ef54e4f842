// Package steering tests which group a request goes to, and how an operator sees and changes that:
// the split, sticky and forced clients, releases, commands, the admin API, the storage, metrics.
package steering

import (
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// What nearly every test needs, by short names.
type (
	server   = lab.Server
	child    = lab.Child
	route    = lab.Route
	visitor  = lab.Visitor
	backend  = proxytest.Backend
	logEntry = proxytest.LogEntry
)

const (
	production = lab.Production
	staging    = lab.Staging
	quiet      = lab.Quiet
)

var (
	newServer          = lab.NewServer
	newChild           = lab.NewChild
	startChild         = lab.StartChild
	run                = lab.Run
	runJSON            = lab.RunJSON
	bothWays           = lab.BothWays
	adapt              = lab.Adapt
	blueGreen          = lab.BlueGreen
	blueGreenDirective = lab.BlueGreenDirective
	withHeader         = lab.WithHeader
	plain              = proxytest.Plain
	untrusted          = proxytest.Untrusted
	unixSocket         = proxytest.UnixSocket
	freeAddr           = proxytest.FreeAddr
	eventually         = proxytest.Eventually
)
