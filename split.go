package proxyos

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
)

// A route's two groups.
const (
	production = "production"
	staging    = "staging"
)

// splitter shares requests out between staging and production. It is a phase accumulator:
// each request adds the share, as a fraction of 2⁶⁴, to a phase that starts half way, and
// a carry out of 64 bits means staging. So after any n requests staging has had n times
// its share, half a request off at most, its requests evenly spread. Safe for concurrent
// use, without locks or waiting.
type splitter struct {
	share atomic.Pointer[share]
	phase atomic.Uint64
}

// share is a percentage, worked out for the accumulator.
type share struct {
	percent float64
	step    uint64 // the percentage as a fraction of 2⁶⁴
}

const halfway = 1 << 63

func newSplitter(percent float64) *splitter {
	s := new(splitter)
	s.phase.Store(halfway)
	s.set(percent)
	return s
}

// set changes the percentage, from the next request on.
func (s *splitter) set(percent float64) {
	next := &share{percent: percent}
	if percent < 100 {
		next.step = uint64(percent / 100 * (1 << 64))
	}
	s.share.Store(next)
}

// percent returns the percentage in force.
func (s *splitter) percent() float64 { return s.share.Load().percent }

// toStaging takes a turn: it tells whether the next request goes to staging.
func (s *splitter) toStaging() bool {
	share := s.share.Load()
	switch share.percent {
	case 0:
		return false
	case 100:
		return true
	}
	return s.phase.Add(share.step) < share.step
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
