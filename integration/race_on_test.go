//go:build race

package integration

// gibibyte is an eighth of one where the race detector makes every byte dear; that is
// still twice the memory that the tests allow.
const gibibyte = 1 << 27

// randomRoutes is how many routes are made at random, if nothing else is said.
const randomRoutes = 60
