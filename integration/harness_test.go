// Package integration tests proxyos in a whole Caddy, with real clients and real backends.
//
// run, runJSON and bothWays load a config into the Caddy of the test process itself, one at
// a time; startChild runs the caddy command, for tests that kill it or need several. The
// backends of proxytest count what reaches them. Package lab has what the packages beside this
// one need too.
package integration

import (
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// What nearly every test needs, by short names.
type (
	server   = lab.Server
	backend  = proxytest.Backend
	logEntry = proxytest.LogEntry
)

var (
	newServer  = lab.NewServer
	newChild   = lab.NewChild
	startChild = lab.StartChild
	run        = lab.Run
	bothWays   = lab.BothWays
	bothForms  = lab.BothForms
	adapt      = lab.Adapt
	blueGreen  = lab.BlueGreen
	plain      = proxytest.Plain
	h2c        = proxytest.H2C
	untrusted  = proxytest.Untrusted
	signedBy   = proxytest.SignedBy
	unixSocket = proxytest.UnixSocket
	freeAddr   = proxytest.FreeAddr
	eventually = proxytest.Eventually
)
