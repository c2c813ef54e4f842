//go:build race

package integration

// The race detector makes everything about ten times slower: the tests under load do less.
const (
	changes = 200
	reloads = 40
	kills   = 10
)
