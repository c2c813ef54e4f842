package lab

import "os"

// longTests is the environment variable that, set to 1, gives the expensive tests their full sizes.
const longTests = "PROXYOS_LONG"

// Sized returns how often, or with how much, an expensive test does what it does: usually, in the
// long tests, and with the race detector, which makes everything about ten times slower.
func Sized(usually, long, race int) int {
	switch {
	case withRace:
		return race
	case os.Getenv(longTests) == "1":
		return long
	}
	return usually
}
