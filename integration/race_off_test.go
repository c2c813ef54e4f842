//go:build !race

package integration

const gibibyte = 1 << 30
