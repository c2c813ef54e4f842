package turns

import (
	"math"
	"math/bits"
)

// Order is the order in which the servers of a pool take turns. It repeats without end. The zero
// value is no order, and its At must not be called.
type Order struct {
	schedule []uint32 // as indices of the pool; empty: one after the other
	length   uint64   // the number of turns after which it repeats
	inverse  uint64   // 2⁶⁴ divided by the length
}

// NewOrder returns the order that repeats a schedule; length is the schedule's. With an empty
// schedule, all servers of a pool of the given length take one turn each, one after the other.
// The length must be at least 1. The schedule is not copied.
func NewOrder(schedule []uint32, length int) Order {
	return Order{schedule: schedule, length: uint64(length), inverse: math.MaxUint64 / uint64(length)}
}

// At returns whose turn it is, as an index of the pool. Turns count from 0. Several goroutines
// may call it at once. It divides by multiplying, which is faster by several nanoseconds, and
// leaves a remainder that is too large by twice the length at most.
func (o *Order) At(turn uint64) int {
	quotient, _ := bits.Mul64(turn, o.inverse)
	slot := turn - quotient*o.length
	for slot >= o.length {
		slot -= o.length
	}
	if len(o.schedule) == 0 {
		return int(slot)
	}
	return int(o.schedule[slot])
}

// Len returns the number of turns after which the order repeats; 0 for the zero value.
func (o *Order) Len() uint64 { return o.length }

// IsZero tells whether o is the zero value, which is no order.
func (o *Order) IsZero() bool { return o.length == 0 }

// IsScheduled tells whether the order repeats a schedule. Some servers may have no turn in it.
func (o *Order) IsScheduled() bool { return len(o.schedule) > 0 }
