//go:build !race

package proxyos

// histories is how many random histories are tried.
var histories = sized(200, 500)

// releaseHistories is how many of a release.
const releaseHistories = 10
