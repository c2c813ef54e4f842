package proxyos

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// RetryBudget limits how many requests are sent again, so that upstreams that fail all at once are
// not sent several times the load that they had.
type RetryBudget struct {
	// How many retries there may be, as a percentage of the requests of the last ten seconds, from 0
	// to 1000, which allows ten retries for each request. Default: 20.
	Percent *float64 `json:"percent,omitempty"`

	// How many retries there may be each second in any case, on average of the last ten, from 0 to
	// 1000000. Default: 10.
	MinPerSecond *int `json:"min_per_second,omitempty"`

	// Whether there is no limit. Default: false.
	Off bool `json:"off,omitempty"`
}

// The retry budget of a route for which none is written.
const (
	defaultBudgetPercent = 20
	defaultBudgetMin     = 10
)

// The largest numbers that a retry budget takes.
const (
	maxBudgetPercent = 1000
	maxBudgetMin     = 1_000_000
)

// check rejects a budget that is out of range, or says both.
func (b *RetryBudget) check() error {
	switch {
	case b == nil:
		return nil
	case b.Percent != nil && !(*b.Percent >= 0 && *b.Percent <= maxBudgetPercent):
		return fmt.Errorf("retry_budget: %v is outside 0 to %d; write how many retries there may be as a percentage of the requests, or off", *b.Percent, maxBudgetPercent)
	case b.MinPerSecond != nil && (*b.MinPerSecond < 0 || *b.MinPerSecond > maxBudgetMin):
		return fmt.Errorf("retry_budget: min %d is outside 0 to %d; write how many retries there may be each second in any case", *b.MinPerSecond, maxBudgetMin)
	case b.Off && (b.Percent != nil || b.MinPerSecond != nil):
		return errors.New("retry_budget: it is off, and has limits; remove one of them")
	}
	return nil
}

// errBudgetTransport says why a route cannot have a retry budget.
var errBudgetTransport = errors.New("retry_budget: the route's transport is not http, and makes each retry that it is told to; remove retry_budget, or the transport")

// errBudgetUsedUp says why a request that failed is not sent again.
var errBudgetUsedUp = errors.New("it is not sent again, since the retry budget is used up")

// budgetSeconds is how far back a retry budget looks: at this second, and those before it.
const budgetSeconds = 10

// retryBudget decides whether a request may be sent again. Requests that are not cost nothing:
// how many there have been is looked up when one is.
type retryBudget struct {
	percent  float64
	min      int
	requests func() uint64 // of the route so far

	mu      sync.Mutex
	seconds *[budgetSeconds]budgetSecond // the latest ones in which retries were asked for, each in the place of its number; nil before the first
	before  budgetSecond                 // the latest one that is older
}

// budgetSecond is a second in which retries were asked for.
type budgetSecond struct {
	number   int64  // since the Unix epoch; 0: none
	requests uint64 // how many there had been when it began
	retries  int
}

// newRetryBudget returns the budget of a route; nil if there is no limit. Nil allows every retry.
func newRetryBudget(config *RetryBudget, requests func() uint64) *retryBudget {
	b := &retryBudget{percent: defaultBudgetPercent, min: defaultBudgetMin, requests: requests}
	b.before = budgetSecond{number: time.Now().Unix(), requests: requests()}
	if config == nil {
		return b
	}
	if config.Off {
		return nil
	}
	if config.Percent != nil {
		b.percent = *config.Percent
	}
	if config.MinPerSecond != nil {
		b.min = *config.MinPerSecond
	}
	return b
}

// take takes a retry from the budget, and tells whether there was one left.
func (b *retryBudget) take() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at, requests := time.Now(), b.requests()
	now := at.Unix()
	if b.seconds == nil {
		b.seconds = new([budgetSeconds]budgetSecond)
	}
	begin, retries := now-(budgetSeconds-1), 0
	first := budgetSecond{number: now, requests: requests} // of those that are looked at
	for i := range b.seconds {
		one := &b.seconds[i]
		switch {
		case one.number == 0:
		case one.number < begin || one.number > now: // or the clock was set back
			if one.number > b.before.number && one.number <= now {
				b.before = *one
			}
			*one = budgetSecond{}
		default:
			retries += one.retries
			if one.number < first.number {
				first = *one
			}
		}
	}
	if b.before.number > now {
		b.before = budgetSecond{number: now, requests: requests}
	}
	this := &b.seconds[now%int64(len(b.seconds))]
	if this.number != now {
		*this = budgetSecond{number: now, requests: requests}
	}
	recent := since(first.requests, requests) + b.earlier(first, first.number-begin)
	if float64(retries)+1 > float64(b.min)*at.Sub(time.Unix(begin, 0)).Seconds()+b.percent/100*recent {
		return false
	}
	this.retries++
	return true
}

// earlier returns how many requests there were in the seconds before the first that is looked at.
// That is known of a longer time only, and taken to have been even.
func (b *retryBudget) earlier(first budgetSecond, seconds int64) float64 {
	length := first.number - b.before.number
	if length <= 0 {
		return 0
	}
	return since(b.before.requests, first.requests) * float64(min(seconds, length)) / float64(length)
}

// since returns how many requests came between two counts. A count may be some too low: a request
// that ends is in neither of two counters for a moment.
func since(before, after uint64) float64 { return float64(after - min(before, after)) }

// giveBack gives back a retry that was not made after all.
func (b *retryBudget) giveBack() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seconds == nil {
		return
	}
	now := time.Now().Unix()
	if this := &b.seconds[now%int64(len(b.seconds))]; this.number == now && this.retries > 0 {
		this.retries--
	}
}
