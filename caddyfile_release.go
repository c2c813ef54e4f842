package proxyos

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// releaseBlock is what release takes.
var releaseBlock = block[Release]{
	{"steps <percent...>", once, func(p *parser, r *Release) error { return p.percents(&r.Steps) }},
	{"hold <duration>", once, func(p *parser, r *Release) error { return p.setDuration(&r.Hold, "10m") }},
	{"min_requests <n>", once, readMinRequests},
	{"errors <factor>[x] | errors off", once, func(p *parser, r *Release) error { return p.tolerance(&r.Errors) }},
	{"slower <factor>[x] | slower off", once, func(p *parser, r *Release) error { return p.tolerance(&r.Slower) }},
	{"max_errors <percent>[%] | max_errors off", once, readMaxErrors},
	{"confidence <percent>[%]", once, readConfidence},
	{"approve <percent...>", once, func(p *parser, r *Release) error { return p.percents(&r.Approve) }},
	{"deadline <duration>", once, func(p *parser, r *Release) error { return p.setDuration(&r.Deadline, "24h") }},
	{"on_fail rollback | pause", once, readOnFail},
	{"notify <url>", once, readNotify},
	{"dry_run", once, readDryRun},
}

// readRelease reads release, and its block if there is one. What is wrong with a value is said with
// the line of its subdirective, whatever the values beside it are.
func readRelease(p *parser, h *Handler) error {
	directive := p.Token()
	if len(p.RemainingArgs()) > 0 {
		return errArgumentCount
	}
	h.Release = new(Release)
	inner, written := newParser(p.Helper, "release"), make(map[string]caddyfile.Token)
	for nesting := inner.Nesting(); inner.NextBlock(nesting); {
		written[inner.Val()] = inner.Token()
		if err := releaseBlock.subdirective(inner, h.Release); err != nil {
			return err
		}
	}
	err := h.Release.check()
	if err == nil {
		return nil
	}
	field, _ := h.Release.mistake()
	if token, ok := written[field]; ok {
		directive = token
	}
	at := asBlock(directive, nil)
	at.Next()
	return at.WrapErr(err)
}

// setDuration reads a duration of which 0 is not the default.
func (p *parser) setDuration(value **caddy.Duration, example string) error {
	*value = new(caddy.Duration)
	return p.duration(*value, example)
}

func readMinRequests(p *parser, r *Release) error {
	r.MinRequests = new(int)
	return p.number(r.MinRequests)
}

// percents reads percentages, with or without percent signs.
func (p *parser) percents(all *[]float64) error {
	name, args := p.Val(), p.RemainingArgs()
	if len(args) == 0 {
		return errArgumentCount
	}
	for _, text := range args {
		percent, err := readDecimal(text, "%")
		if err != nil {
			return p.Errf("%s: %q is not a percentage; write one such as 25 or 0.5%%", name, text)
		}
		*all = append(*all, percent)
	}
	return nil
}

// tolerance reads how many times as often as production something may be, or off.
func (p *parser) tolerance(value **float64) error {
	name, text := p.Val(), ""
	if !p.AllArgs(&text) {
		return errArgumentCount
	}
	*value = new(0.0)
	if text == "off" {
		return nil
	}
	factor, err := readDecimal(text, "x")
	switch {
	case err != nil:
		return p.Errf("%s: %q is not a factor; write one such as 1.5x, or off", name, text)
	case factor == 0:
		return p.Errf("%s: %q would switch the test off; write off if that is meant, or a factor such as 1.5x", name, text)
	}
	**value = factor
	return nil
}

func readMaxErrors(p *parser, r *Release) error {
	var text string
	if !p.AllArgs(&text) {
		return errArgumentCount
	}
	r.MaxErrors = new(0.0)
	if text == "off" {
		return nil
	}
	percent, err := readDecimal(text, "%")
	switch {
	case err != nil:
		return p.Errf("max_errors: %q is not a percentage; write one such as 5%%, or off", text)
	case percent == 0:
		return p.Errf("max_errors: %q would switch the test off; write off if that is meant, or a percentage such as 5%%", text)
	case percent > 0 && percent < 1 && !strings.HasSuffix(text, "%"):
		return p.Errf("max_errors: %s is less than one percent; write %s%% if that is meant, or a percentage such as 5%%", text, text)
	}
	*r.MaxErrors = percent
	return nil
}

func readConfidence(p *parser, r *Release) error {
	var text string
	if !p.AllArgs(&text) {
		return errArgumentCount
	}
	percent, err := readDecimal(text, "%")
	if err != nil {
		return p.Errf("confidence: %q is not a percentage; write one such as 99%%", text)
	}
	r.Confidence = &percent
	return nil
}

func readOnFail(p *parser, r *Release) error {
	if !p.AllArgs(&r.OnFail) {
		return errArgumentCount
	}
	if r.OnFail == "" { // which in JSON is the default
		return p.Errf(`on_fail: "" is not known; write "rollback" or "pause"`)
	}
	return nil
}

func readNotify(p *parser, r *Release) error {
	if !p.AllArgs(&r.Notify) {
		return errArgumentCount
	}
	if r.Notify == "" { // such as a variable that is not set
		return p.Errf("notify: %v", errNotify(""))
	}
	return nil
}

func readDryRun(p *parser, r *Release) error {
	if !p.AllArgs() {
		return errArgumentCount
	}
	r.DryRun = true
	return nil
}

// readDecimal reads a decimal number, with or without a unit.
func readDecimal(text, unit string) (float64, error) {
	number := strings.TrimSuffix(text, unit)
	if strings.Trim(number, "+-.0123456789") != "" { // 1e1, 0x1 or NaN
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(number, 64)
}
