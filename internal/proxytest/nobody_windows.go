package proxytest

import "testing"

// Refused and BlackHole need sockets as Unix has them. The tests that use them run there.

// Refused fails the test.
func Refused(t testing.TB) string {
	t.Helper()
	t.Fatal("an address that refuses connections is made for Unix only; run this test on Linux")
	return ""
}

// BlackHole fails the test.
func BlackHole(t testing.TB) string {
	t.Helper()
	t.Fatal("a black hole is made for Unix only; run this test on Linux")
	return ""
}

// RefusePort fails the test.
func RefusePort(t testing.TB, _ int) bool {
	t.Helper()
	t.Fatal("a port that refuses connections is taken for Unix only; run this test on Linux")
	return false
}
