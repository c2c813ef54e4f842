package lab

// Sized returns how often, or with how much, an expensive test does what it does: usually, and with
// the race detector, which makes everything about ten times slower.
func Sized(usually, race int) int {
	if withRace {
		return race
	}
	return usually
}
