// Package turns decides in which order the servers of a pool take turns, so that each gets its
// share of the requests: a server of weight 3 gets three times as many as one of weight 1, evenly
// spread instead of in bursts. Schedule computes one cycle of turns from the weights, once. An
// Order then tells which server has a given turn, in constant time and without changing anything.
// The caller counts the turns, and skips servers that are unavailable.
package turns

// Schedule returns the order in which upstreams of the given weights take their turns, as
// indices of weights. It is one full cycle, in which each upstream occurs as often as its weight,
// divided by the greatest common divisor of all weights. At every prefix, each upstream is less
// than one turn off its share. Weights must not be negative. An upstream of weight 0 gets no
// turn. If all weights are 0, the schedule is empty.
//
// The schedule has as many turns as the weights add up to after the division: hundreds of
// thousands for 1,000 upstreams of unequal weights up to 1,000.
//
// This is the quota-and-deadline rule: an upstream may take its next turn once its share has
// grown enough. Of those that may, the one that must take it soonest goes first.
// See R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980).
func Schedule(weights []int) []uint32 {
	var turns []turn
	total, divisor := 0, 0
	for _, weight := range weights {
		total += weight
		divisor = gcd(divisor, weight)
	}
	if total == 0 {
		return nil
	}
	for i, weight := range weights {
		if weight > 0 {
			turns = append(turns, turn{upstream: uint32(i), weight: weight / divisor})
		}
	}
	cycle := total / divisor
	if len(turns) == 1 {
		return []uint32{turns[0].upstream}
	}

	// Slots count from 1. With k upstreams, one that has had x turns may take the next
	// from the slot t on at which weight·t/cycle − x ≥ 1/(2k−2), and must have it by the
	// slot at which the same reaches 1 − 1/(2k−2).
	slack := 2*len(turns) - 2
	opening := make([]*turn, cycle+1) // by slot: a list of the turns that open there
	open := func(t *turn, earliest int) {
		scaled := cycle * (1 + slack*t.taken)
		slot := max(earliest, (scaled+slack*t.weight-1)/(slack*t.weight))
		if slot <= cycle {
			t.next, opening[slot] = opening[slot], t
		}
	}
	for i := range turns {
		open(&turns[i], 1)
	}
	schedule := make([]uint32, 0, cycle)
	var ready deadlineHeap
	for slot := 1; slot <= cycle; slot++ {
		for t := opening[slot]; t != nil; t = t.next {
			t.deadline = slack*t.taken + slack - 1
			ready.push(t)
		}
		due := ready.pop()
		schedule = append(schedule, due.upstream)
		due.taken++
		open(due, slot+1)
	}
	return schedule
}

// turn is the next turn of one upstream.
type turn struct {
	upstream uint32
	weight   int
	taken    int // turns it has had
	deadline int // the slot it must be in, times a factor and its weight
	next     *turn
}

// before orders turns by their deadlines, and equal ones by their order in the config.
func (t *turn) before(other *turn) bool {
	mine, others := t.deadline*other.weight, other.deadline*t.weight
	return mine < others || mine == others && t.upstream < other.upstream
}

// deadlineHeap is a binary heap with the most urgent turn on top. With container/heap, building
// a schedule takes nearly twice as long.
type deadlineHeap []*turn

func (h *deadlineHeap) push(t *turn) {
	*h = append(*h, t)
	for i := len(*h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !(*h)[i].before((*h)[parent]) {
			return
		}
		(*h)[i], (*h)[parent] = (*h)[parent], (*h)[i]
		i = parent
	}
}

func (h *deadlineHeap) pop() *turn {
	old := *h
	top, last := old[0], len(old)-1
	old[0], old[last] = old[last], nil
	rest := old[:last]
	*h = rest
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(rest) {
			return top
		}
		if right := child + 1; right < len(rest) && rest[right].before(rest[child]) {
			child = right
		}
		if !rest[child].before(rest[i]) {
			return top
		}
		rest[i], rest[child] = rest[child], rest[i]
		i = child
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
