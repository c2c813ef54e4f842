// Package upstreams tests how one is chosen of a group's upstreams that come and go, fail and warm up,
// and what is told of them: policies of this module's own, metrics, events.
package upstreams

import (
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// What nearly every test needs, by short names.
type backend = proxytest.Backend

const (
	production = lab.Production
	quiet      = lab.Quiet
)

var (
	newServer  = lab.NewServer
	adapt      = lab.Adapt
	plain      = proxytest.Plain
	eventually = proxytest.Eventually
)
