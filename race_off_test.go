//go:build !race

package proxyos

// histories is how many random histories are tried.
const histories = 500

// releaseHistories is how many of a release.
const releaseHistories = 10
