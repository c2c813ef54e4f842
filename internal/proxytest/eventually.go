package proxytest

import (
	"testing"
	"time"
)

// patience is how long tests wait for what must come about. It is long, since it passes
// only where a test fails.
const patience = 20 * time.Second

// Eventually waits for a condition, and fails the test if it does not come about.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
