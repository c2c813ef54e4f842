//go:build race

package proxyos

// histories is how many random histories are tried: few, as the race detector has only so much
// room for goroutines.
const histories = 50

// releaseHistories is how many of a release.
const releaseHistories = 4
