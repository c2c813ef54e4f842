package proxyos

import (
	"math/bits"
	"sync/atomic"
)

// shuffle divides requests as a splitter does, but in an order that no client can be in step with:
// one that sends its requests in cycles of ten would always be divided alike by turns that come
// every tenth time. The turns are cut into blocks of as many as it takes for one of the group that
// gets fewer, and which of them that is is random in each block.
//
// Let s be staging's share, or production's if that is less. Turn n, from 0, is in block ⌊n·s⌋, and
// each block has one turn of the group with fewer. So at the end of each block, after N turns, that
// group has had ⌊N·s⌋ of them, and at any time both groups are less than one request off their share.
//
// It is safe for concurrent use, without locks or waiting.
type shuffle struct {
	turns atomic.Uint64 // taken so far
	seed  uint64        // of the order
}

func newShuffle(seed uint64) *shuffle { return &shuffle{seed: seed} }

// toStaging takes a turn: it tells whether the next request goes to staging. The share must be
// split.
func (s *shuffle) toStaging(share *share) bool {
	turn := s.turns.Add(1) - 1
	if share.percent > 50 {
		return !s.isChosen(turn, -share.step) // 1−s as a fraction of 2⁶⁴
	}
	return s.isChosen(turn, share.step)
}

// isChosen tells whether a turn is the one of its block that is chosen. step is the share of those,
// as a fraction of 2⁶⁴.
func (s *shuffle) isChosen(turn, step uint64) bool {
	if step == 0 {
		return false // a share below 2⁻⁶⁴, whose first block never ends
	}
	block, past := bits.Mul64(turn, step)
	place, first := past/step, past%step
	length := (^first)/step + 1 // (2⁶⁴−first)/step, rounded up, without 2⁶⁴
	chosen, _ := bits.Mul64(scatter(s.seed+block*goldenRatio), length)
	return place == chosen
}

// scatter returns a number of which each bit depends on each bit of x: the end of SplitMix64.
// Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
func scatter(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
