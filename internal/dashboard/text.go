package dashboard

import (
	"strconv"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// none is shown where there is nothing to show.
const none = "–"

// longText is the largest length of explanations, in characters.
const longText = 1000

// short makes a name or the like safe to show, and long an explanation.
func short(text string) string { return printable.Short(text) }
func long(text string) string  { return printable.Cut(text, longText) }

// orNone is a text, or a dash for none.
func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

func percentText(percent float64) string {
	return strconv.FormatFloat(percent, 'f', -1, 64) + " %"
}

// rateText is a number per second: three digits are enough.
func rateText(rate float64) string {
	switch {
	case rate == 0:
		return "0"
	case rate < 0.01:
		return "< 0.01"
	case rate < 1:
		return strconv.FormatFloat(rate, 'f', 2, 64)
	case rate < 99.95:
		return strconv.FormatFloat(rate, 'f', 1, 64)
	}
	return countText(uint64(rate + 0.5))
}

// shareText is a percentage of errors. It is 0 only if there are none.
func shareText(percent float64) string {
	switch {
	case percent == 0:
		return "0 %"
	case percent < 0.01:
		return "< 0.01 %"
	case percent < 1:
		return strconv.FormatFloat(percent, 'f', 2, 64) + " %"
	case percent < 99.95:
		return strconv.FormatFloat(percent, 'f', 1, 64) + " %"
	}
	return "100 %"
}

// countText groups the digits of a number by threes, with a narrow space.
func countText(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	if len(digits) < 5 {
		return digits
	}
	var b strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

// latencyText is how long requests take. What is above all bounds is not known any better.
func latencyText(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case d >= Bounds[len(Bounds)-1]:
		return "> " + strconv.Itoa(int(Bounds[len(Bounds)-1]/time.Second)) + " s"
	case ms < 9.95:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 999.5:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}

// agoText is how long something has lasted, in its two largest units.
func agoText(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	unit := func(n int64, name string) string { return strconv.FormatInt(n, 10) + " " + name }
	switch {
	case s < 60:
		return unit(s, "s")
	case s < 10*60:
		return unit(s/60, "min") + " " + unit(s%60, "s")
	case s < 60*60:
		return unit(s/60, "min")
	case s < 24*60*60:
		return unit(s/3600, "h") + " " + unit(s%3600/60, "min")
	case s < 48*60*60:
		return "1 day"
	}
	return unit(s/86400, "days")
}

// clockText is a moment on the clock of the server, with the date if that is another one than now's.
func clockText(t, now time.Time) string {
	if t.IsZero() {
		return none
	}
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}
