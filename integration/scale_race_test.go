//go:build race

package integration

import "time"

// The race detector makes everything about ten times slower: the tests under load do less.
//
// No WebSockets are open during the reloads: as Caddy's reverse_proxy (2.11.9) schedules
// their end, with stream_close_delay, it writes a field of a struct that requests copy. The
// copies do not use the field, but the detector rightly reports it.
const (
	changes           = 60
	reloads           = 40
	kills             = 10
	drains            = 15
	openDuringReloads = 0
	slowStart         = 20 * time.Second // ten times slower requests take a part of it
)
