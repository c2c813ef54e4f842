//go:build !race

package integration

import "time"

// How often the tests under load do what they do.
const (
	changes           = 1000
	reloads           = 100
	kills             = 50
	drains            = 250 // of each upstream
	openDuringReloads = 200 // WebSockets
	slowStart         = 6 * time.Second
)
