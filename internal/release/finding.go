package release

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Finding is what a test has found.
type Finding struct {
	Test  string  `json:"test"`           // errors, slower, or max_errors, as in the plan
	LogE  float64 `json:"log_e"`          // the natural logarithm of the evidence that staging is worse than tolerated
	Alarm bool    `json:"alarm,omitzero"` // whether that is enough for the confidence
	Text  string  `json:"text"`           // the counts of this step, and how sure it is, in words
}

// findings returns what each test that is on has found.
func findings(s *State, round Groups, e Evidence) []Finding {
	p, all := &s.Plan, s.Counted.Add(round)
	var found []Finding
	add := func(test string, evidence weights, nothing, worse, format string, args ...any) {
		f := Finding{Test: test, LogE: evidence.log()}
		f.Alarm = f.LogE >= alarm(p.Confidence)
		f.Text = fmt.Sprintf(format, args...) + "; " + howSure(f, p.Confidence) + " that it " + worse
		if nothing != "" && !f.Alarm {
			f.Text = nothing
		}
		found = append(found, f)
	}
	compared := func(staging, production int64, what string) string {
		switch {
		case staging == 0:
			return "staging has answered no " + what + " on this step yet"
		case production == 0:
			return "nothing to compare with: production has answered no " + what + " on this step"
		}
		return ""
	}
	if p.Errors > 0 {
		add("errors", e.Errors, compared(all.Staging.Requests, all.Production.Requests, "requests"), fmt.Sprintf("fails more than %v times as often", p.Errors),
			"staging failed %s of %s requests, production %s of %s",
			commas(all.Staging.Failed), commas(all.Staging.Requests), commas(all.Production.Failed), commas(all.Production.Requests))
	}
	if p.Slower > 0 {
		add("slower", e.Slower, compared(all.Staging.Timed, all.Production.Timed, "requests that were timed"), fmt.Sprintf("is slow more than %v times as often", p.Slower),
			"staging was slower than production's 95th percentile in %s of %s requests, production in %s of %s",
			commas(all.Staging.Slow), commas(all.Staging.Timed), commas(all.Production.Slow), commas(all.Production.Timed))
	}
	if p.MaxErrors > 0 {
		add("max_errors", e.MaxErrors, compared(all.Staging.Judged, 1, "requests while production did not fail"), "fails more than "+percent(100*p.MaxErrors),
			"staging failed %s of %s requests while production did not fail",
			commas(all.Staging.JudgedFailed), commas(all.Staging.Judged))
	}
	return found
}

// howSure says how sure evidence is: it is 1/E at most that it comes by chance. It is rounded down.
func howSure(f Finding, confidence float64) string {
	switch sure := -math.Expm1(-f.LogE); {
	case f.Alarm:
		return percent(100*confidence) + " sure"
	case sure >= 0.5:
		return percent(math.Floor(1000*sure)/10) + " sure"
	}
	return "nothing suggests"
}

// percent returns a percentage as text.
func percent(p float64) string { return strconv.FormatFloat(p, 'g', 6, 64) + " %" }

// percents returns percentages as text, or "none".
func percents(all []float64) string {
	if len(all) == 0 {
		return "none"
	}
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = percent(p)
	}
	return strings.Join(texts, ", ")
}

// commas returns a number with its thousands apart.
func commas(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// short returns a duration as text, in seconds, or rounded to minutes: 90s, 10m, 1h30m.
func short(d time.Duration) string {
	if d < 2*time.Minute {
		return strconv.Itoa(int(math.Ceil(d.Seconds()))) + "s"
	}
	text := strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	if hours, whole := strings.CutSuffix(text, "h0m"); whole {
		return hours + "h"
	}
	return text
}
