//go:build !race

package lab

const withRace = false
