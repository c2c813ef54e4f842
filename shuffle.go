package proxyos

import (
	"math/bits"
	"sync/atomic"
)

// shuffle divides requests as a splitter does, but in an order that no client can be in step with:
// one that sends its requests in cycles of ten would always be divided alike by turns that come
// every tenth time.
//
// Let s be staging's share, or production's if that is less. Each turn is a step of s along a line,
// which is cut into blocks of length 1, and each block chooses one turn for that group. So after any
// n requests, the group has had n·s of them, rounded up or down, and both are less than one request
// off their share. Each turn is chosen with the probability s, wherever it is. It is safe for
// concurrent use, without locks or waiting.
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

// isChosen tells whether a turn is chosen. step is the share of those, up to a half, as a fraction
// of 2⁶⁴.
func (s *shuffle) isChosen(turn, step uint64) bool {
	if step == 0 {
		return false // a share below 2⁻⁶⁴
	}
	number, past := bits.Mul64(turn, step)
	b := newBlock(number, past%step, step)
	place := past / step
	if place >= b.within {
		return s.takesLast(b) || s.takesFirst(b.next())
	}
	chosen, _ := bits.Mul64(s.draw(number, drawWithin), b.within)
	return place == chosen && !s.takesLast(b) && !s.takesFirst(b)
}

// turnBlock is a block of turns. One turn may lie across its beginning, and one across its end: the
// block shares them with its neighbors.
type turnBlock struct {
	number, step  uint64
	before, after uint64 // how much of it such a turn has, as a fraction of 2⁶⁴; 0 if there is none
	within        uint64 // how many turns lie within it
}

func newBlock(number, before, step uint64) turnBlock {
	b := turnBlock{number: number, step: step, before: before, within: ^before / step, after: ^before%step + 1}
	if b.after == step { // it lies within, too: the length of a block is 2⁶⁴, which is one more than ^0
		b.within, b.after = b.within+1, 0
	}
	return b
}

// next returns the block after b, which shares a turn with it.
func (b turnBlock) next() turnBlock { return newBlock(b.number+1, b.step-b.after, b.step) }

// takesLast tells whether a block chooses the turn that it shares with the next one. That is as
// likely as much of the block the turn has.
func (s *shuffle) takesLast(b turnBlock) bool { return s.draw(b.number, drawLast) < b.after }

// takesFirst tells whether a block chooses the turn that it shares with the one before. It must not
// if that one has, nor if it chooses its own last turn. Where it may, it is by so much likelier that
// in all it is as likely as much of the block the turn has.
func (s *shuffle) takesFirst(b turnBlock) bool {
	if b.before == 0 || s.takesLast(b) {
		return false
	}
	earlier := b.step - b.before // what the block before has of the turn
	if s.draw(b.number-1, drawLast) < earlier {
		return false
	}
	mayBe := -earlier // how likely it is to come to this, as a fraction of 2⁶⁴
	if b.after > 0 {
		mayBe, _ = bits.Mul64(mayBe, -b.after)
	}
	drawn, _ := bits.Mul64(s.draw(b.number, drawFirst), mayBe)
	return drawn < b.before
}

// What is drawn for a block: whether it chooses a turn that it shares, and which other it does.
const (
	drawFirst = iota
	drawWithin
	drawLast
	drawsPerBlock
)

// draw returns a random number, the same each time.
func (s *shuffle) draw(block, what uint64) uint64 {
	return scatter(s.seed + (block*drawsPerBlock+what)*goldenRatio)
}

// scatter returns a number of which each bit depends on each bit of x: the end of SplitMix64.
// Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
func scatter(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
