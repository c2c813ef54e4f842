// Package same proves that nobody can tell whether a request took the short way past reverse_proxy,
// nor a route of proxyos from one of reverse_proxy. same_test.go says how.
package same

import (
	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// What nearly every test needs, by short names.
type (
	server   = lab.Server
	logEntry = proxytest.LogEntry
)

const (
	production = lab.Production
	staging    = lab.Staging
)

var (
	newServer  = lab.NewServer
	run        = lab.Run
	adapt      = lab.Adapt
	plain      = proxytest.Plain
	untrusted  = proxytest.Untrusted
	freeAddr   = proxytest.FreeAddr
	eventually = proxytest.Eventually
)
