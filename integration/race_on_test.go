//go:build race

package integration

// gibibyte is an eighth of one where the race detector makes every byte dear; that is
// still twice the memory that the tests allow.
const gibibyte = 1 << 27

// randomRoutes is how many routes are made at random, if nothing else is said.
const randomRoutes = 60

// samePairs is how many pairs of a request and an answer are made at random, if nothing else is
// said.
const samePairs = 60
