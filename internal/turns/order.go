package turns

// Order is the order in which the servers of a pool take turns, for as long as there are turns.
// The zero value is no order; At may not be asked of it.
type Order struct {
	schedule []uint32 // as indices of the pool; empty: one after the other
	length   uint64   // the turns after which it begins again
}

// NewOrder returns the order that repeats a schedule; length is the schedule's. With an empty
// schedule, all in a pool of the given length take one turn each, one after the other. The
// length must be at least 1. The schedule is not copied.
func NewOrder(schedule []uint32, length int) Order {
	return Order{schedule: schedule, length: uint64(length)}
}

// At returns whose turn it is, as an index of the pool. Turns count from 0. It may be asked by
// several goroutines at once.
func (o *Order) At(turn uint64) int {
	slot := turn % o.length
	if len(o.schedule) == 0 {
		return int(slot)
	}
	return int(o.schedule[slot])
}

// Len returns the number of turns after which the order begins again; 0 for the zero value.
func (o *Order) Len() uint64 { return o.length }

// IsZero tells whether o is the zero value, which is no order.
func (o *Order) IsZero() bool { return o.length == 0 }

// IsScheduled tells whether the order repeats a schedule, in which some may have no turn.
func (o *Order) IsScheduled() bool { return len(o.schedule) > 0 }
