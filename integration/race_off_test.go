//go:build !race

package integration

const gibibyte = 1 << 30

// randomRoutes is how many routes are made at random, if nothing else is said.
const randomRoutes = 500

// samePairs is how many pairs of a request and an answer are made at random, if nothing else is
// said.
const samePairs = 300
