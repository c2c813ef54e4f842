package proxyos

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// readEject reads `eject 5xx 50% min 20 in 10s for 30s max 50%`.
func readEject(p *parser, h *Handler) error {
	args := p.RemainingArgs()
	if len(args) < 2 || len(args)%2 != 0 {
		return errArgumentCount
	}
	if args[0] != "5xx" {
		return p.Errf("eject: %q is none of the failures that count; write 5xx", args[0])
	}
	e := new(Eject)
	h.Eject = e
	var err error
	if e.Ratio, err = strconv.ParseFloat(strings.TrimSuffix(args[1], "%"), 64); err != nil {
		return p.Errf("eject: %q is not a ratio; write one such as 0.5 or 50%%", args[1])
	}
	if strings.HasSuffix(args[1], "%") {
		e.Ratio /= 100
	}
	seen := make(map[string]bool)
	for i := 2; i < len(args); i += 2 {
		if seen[args[i]] {
			return p.Errf("eject: %s is given twice; write it once", args[i])
		}
		seen[args[i]] = true
		switch name, text := args[i], args[i+1]; name {
		case "min":
			n, err := strconv.Atoi(text)
			if err != nil {
				return p.Errf("eject: min %q is not a whole number", text)
			}
			e.MinRequests = &n
		case "in", "for":
			duration, err := caddy.ParseDuration(text)
			if err != nil || duration == 0 {
				return p.Errf("eject: %s %q is not a duration above 0; write one such as 30s", name, text)
			}
			if name == "in" {
				e.Window = caddy.Duration(duration)
			} else {
				e.For = caddy.Duration(duration)
			}
		case "max":
			most, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
			if err != nil {
				return p.Errf("eject: max %q is not a percentage; write one such as 50%%", text)
			}
			if most > 0 && most < 1 && !strings.HasSuffix(text, "%") {
				return p.Errf("eject: max %s is less than one percent; write %s%% if that is meant, or a percentage such as 50%%", text, text)
			}
			e.MaxPercent = &most
		default:
			return p.Errf("eject takes min, in, for and max, not %q", name)
		}
	}
	if err := e.check(); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

// readRetryBudget reads `retry_budget 20% min 10`, or `retry_budget off`.
func readRetryBudget(p *parser, h *Handler) error {
	args := p.RemainingArgs()
	b := new(RetryBudget)
	h.RetryBudget = b
	switch {
	case len(args) == 1 && args[0] == "off":
		b.Off = true
		return nil
	case len(args) != 1 && len(args) != 3:
		return errArgumentCount
	case len(args) == 3 && args[1] != "min":
		return p.Errf("retry_budget takes min after the percentage, not %q", args[1])
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "%"), 64)
	if err == nil && percent > 0 && percent < 1 && !strings.HasSuffix(args[0], "%") {
		return p.Errf("retry_budget: %s is less than one percent; write %s%% if that is meant, or a percentage such as 20%%", args[0], args[0])
	}
	if err != nil {
		return p.Errf("retry_budget: %q is not a percentage; write one such as 20%%, or off", args[0])
	}
	b.Percent = &percent
	if len(args) == 3 {
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return p.Errf("retry_budget: min %q is not a whole number", args[2])
		}
		b.MinPerSecond = &n
	}
	if err := b.check(); err != nil {
		return p.WrapErr(err)
	}
	return nil
}
