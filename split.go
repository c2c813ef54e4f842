package proxyos

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
)

// splitter divides requests between staging and production. It is a phase accumulator: each
// request adds the share, as a fraction of 2⁶⁴, to a phase that starts half way. A carry out of
// 64 bits means staging. So after any n requests, staging has had n times its share, half a
// request off at most, and its requests are evenly spread. It is safe for concurrent use,
// without locks or waiting. While there is a shuffle, that takes the turns instead, and the phase
// stands still.
//
// What each request reads of it is the first half of a cache line, and the phase lies in the second
// half of another, on machines with 64 bits. Processors take a read at the same offset in a page for
// one of what has just been written, and wait: that made a turn half as long again.
type splitter struct {
	configured share
	override   atomic.Pointer[override] // in force instead, or nil
	shared     *routeState              // whose the phase and the shuffle are

	instance string         // the ID of this instance
	state    *overrideState // shared with the config before
	ruled    *override      // the latest one that was decided about; guarded by the state
}

// share is a percentage of the requests, prepared for the accumulator.
type share struct {
	percent float64
	step    uint64 // the percentage as a fraction of 2⁶⁴; 0 for 100 %
}

const halfway = 1 << 63

func newShare(percent float64) share {
	s := share{percent: percent}
	if percent < 100 {
		s.step = uint64(percent / 100 * (1 << 64))
	}
	return s
}

// isSplit tells whether some requests go to staging and some to production.
func (s *share) isSplit() bool { return s.percent > 0 && s.percent < 100 }

// covers tells whether a client at a position, as a fraction of 2⁶⁴, belongs to staging.
func (s *share) covers(position uint64) bool { return s.percent == 100 || position < s.step }

// newSplitter returns a splitter with its own phase.
func newSplitter(percent float64) *splitter { return newRouteState().splitter(percent, "") }

// current returns the share in force.
func (s *splitter) current() *share {
	if o := s.override.Load(); o != nil {
		return &o.share
	}
	return &s.configured
}

// toStaging takes a turn: it tells whether the next request goes to staging.
func (s *splitter) toStaging() bool {
	share := s.current()
	switch share.percent {
	case 0:
		return false
	case 100:
		return true
	}
	if shuffle := s.shared.shuffle.Load(); shuffle != nil {
		return shuffle.toStaging(share)
	}
	return s.shared.phase.Add(share.step) < share.step
}

// parsePercent reads a percentage, with or without a percent sign.
func parsePercent(text string) (float64, error) {
	number := strings.TrimSuffix(text, "%")
	percent, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Trim(number, "+-.0123456789") != "" {
		return 0, fmt.Errorf("%q is not a percentage; write a number from 0 to 100, such as 10 or 0.5%%", text)
	}
	if err := checkPercent(percent); err != nil {
		return 0, fmt.Errorf("%q %w", text, err)
	}
	return percent, nil
}

func checkPercent(percent float64) error {
	if math.IsNaN(percent) || percent < 0 || percent > 100 {
		return errors.New("is outside 0 to 100; write the percentage of requests for staging")
	}
	return nil
}
