package release

import "math"

// ratios are how many times the odds of an event could be what is tolerated, if they are more. All
// are believed in alike. Evidence for what lies in between is hardly weaker than for the next one.
var ratios = [...]float64{1.5, 2, 3, 5, 10, 30}

// weights are how much a test bets on each of the ratios, as natural logarithms. The sum of what
// they stand for is the evidence that the odds are above what is tolerated, often called E.
//
// Evidence is an e-process: whoever bets on odds that are no higher than tolerated has no more to
// expect than was staked, which is 1 in all. So by Ville's inequality, E ever reaches
// 1/(1−confidence) with a probability of 1−confidence at most: over the whole release, however
// often it is looked at, and whoever decides when to stop. See Lindon and Malek, "Anytime-Valid
// Inference for Multinomial Count Data", NeurIPS 2022, and Ramdas and others, "Game-Theoretic
// Statistics and Safe Anytime-Valid Inference", Statistical Science 38 (2023).
//
// The whole stake is not bet at once, but half of it in the first round, and 1/(k·(k+1)) in round k.
// What fails after it was good for long would have to make up for all that was lost before. So it is
// found by what is bet anew.
type weights [len(ratios)]float64

// stake returns what is bet in a round. Rounds count from 1.
func stake(round int) weights {
	var w weights
	k := float64(max(round, 1))
	for i := range w {
		w[i] = -math.Log(k) - math.Log(k+1) - math.Log(float64(len(ratios)))
	}
	return w
}

// after returns what the weights are worth after trials of which some were events, if an event is
// tolerated with the probability p0. With p0·r/(1 + p0·(r−1)) as the probability that a ratio stands
// for, an event is worth r/(1 + p0·(r−1)), and any other trial 1/(1 + p0·(r−1)). With a p0 of 0 or 1
// there is nothing to find out, and the weights stay as they are.
func (w weights) after(events, trials int64, p0 float64) weights {
	if !(p0 > 0 && p0 < 1) {
		return w
	}
	for i, r := range ratios {
		w[i] += logRatio(events, trials, p0, r)
	}
	return w
}

// logRatio returns the logarithm of the likelihood ratio of odds that are r times those of p0.
func logRatio(events, trials int64, p0, r float64) float64 {
	return float64(events)*math.Log(r) - float64(trials)*math.Log1p((r-1)*p0)
}

// plus returns the sums of the weights.
func (w weights) plus(other weights) weights {
	for i := range w {
		w[i] = logSum(w[i], other[i])
	}
	return w
}

// log returns the logarithm of the evidence.
func (w weights) log() float64 { return logSum(w[:]...) }

// logSum returns the logarithm of the sum of what the logarithms stand for.
func logSum(logs ...float64) float64 {
	highest := math.Inf(-1)
	for _, l := range logs {
		highest = max(highest, l)
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - highest)
	}
	return highest + math.Log(sum)
}

// Evidence is what each of the tests has found: the weights of its bets.
type Evidence struct {
	Errors    weights `json:"errors"`
	Slower    weights `json:"slower"`
	MaxErrors weights `json:"max_errors"`
}

// newEvidence returns what is bet in a round.
func newEvidence(round int) Evidence { return Evidence{stake(round), stake(round), stake(round)} }

// after returns the evidence after the counts of a round. A test that is off tolerates a probability
// of 0, and learns nothing.
//
// For the comparisons, the trials are the events of both groups, and what is asked is how many of
// them are staging's. If both groups fail as often as each other, an event is staging's with the
// probability of its share of the requests, however often both fail together at the time. If the
// split decides on each request by itself, that is the exact share, in percent. Otherwise (0) it is
// measured among the requests about the time of each event: clients that stick to a group come and
// go, and those of staging may be many just when all fails. That keeps the bound. Which of those
// requests fail is like drawing without putting back, which scatters less. And their mean is on the
// safe side, since the logarithm in logRatio is concave. But clients that stick to staging and fail
// there for their own sake count against it: of those, no count can tell.
//
// For max_errors, the trials are staging's requests that are judged, and the events those that failed.
func (e Evidence) after(p *Plan, g Groups, exact float64) Evidence {
	s, o := &g.Staging, &g.Production
	failed, slow := s.Failed+o.Failed, s.Slow+o.Slow
	share := func(sum float64, events int64) float64 {
		if exact > 0 {
			return exact / 100
		}
		return min(sum/float64(max(events, 1)), 1)
	}
	return Evidence{
		Errors:    e.Errors.after(s.Failed, failed, tolerated(share(g.FailedShare, failed), p.Errors)),
		Slower:    e.Slower.after(s.Slow, slow, tolerated(share(g.SlowShare, slow), p.Slower)),
		MaxErrors: e.MaxErrors.after(s.JudgedFailed, s.Judged, p.MaxErrors),
	}
}

// renewed returns the evidence with what is bet in the next round.
func (e Evidence) renewed(round int) Evidence {
	w := stake(round)
	return Evidence{e.Errors.plus(w), e.Slower.plus(w), e.MaxErrors.plus(w)}
}

// tolerated returns the probability that an event is staging's if staging has the share of the
// requests, and r0 times as many of its requests are events as of production's.
func tolerated(share, r0 float64) float64 { return share * r0 / (1 + share*(r0-1)) }

// missing returns how many more trials, of which none is an event, would show that events are less
// likely than p0: 0 if they are shown to be. It is the same kind of evidence the other way round.
func missing(events, trials int64, p0, confidence float64) int64 {
	shown := func(more int64) bool {
		var w weights
		for i, r := range ratios {
			w[i] = logRatio(events, trials+more, p0, 1/r) - math.Log(float64(len(ratios)))
		}
		return w.log() >= alarm(confidence)
	}
	if shown(0) {
		return 0
	}
	low, high := int64(0), int64(1)
	for !shown(high) && high < math.MaxInt64/4 {
		low, high = high, 2*high
	}
	for low+1 < high {
		if middle := low + (high-low)/2; shown(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// alarm returns the logarithm of the evidence from which a test is sure.
func alarm(confidence float64) float64 { return -math.Log1p(-confidence) }
