package proxytest

import (
	"sync"
	"testing"
)

// Together runs subtests at the same time, all of them however few processors there are: for those
// that mostly wait.
func Together(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}
