package proxyos

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// maxSlowStart is how long an upstream may warm up at most.
const maxSlowStart = 24 * time.Hour

// checkOptions rejects what is wrong with the route's own options, except its upstreams.
func (h *Handler) checkOptions() error {
	if h.Name != "" {
		if err := checkName(h.Name); err != nil {
			return err
		}
	}
	if size := h.RetryBuffer; size != nil && (*size < 0 || *size > maxKept) {
		return fmt.Errorf("retry_buffer: %d is outside 0 to %d bytes; write a size such as 64KiB, or 0 to keep no bodies", *size, maxKept)
	}
	if d := time.Duration(h.SlowStart); d != 0 && (d < time.Second || d > maxSlowStart) {
		return fmt.Errorf("slow_start: %s is outside 1s to %s; write how long an upstream that comes back warms up, such as 30s", d, maxSlowStart)
	}
	if err := h.RetryBudget.check(); err != nil {
		return err
	}
	if h.Eject != nil {
		if err := h.Eject.check(); err != nil {
			return err
		}
	}
	if h.Release != nil {
		if h.Name == "" {
			return errReleaseName
		}
		if err := h.Release.check(); err != nil {
			return err
		}
	}
	if err := h.checkSplit(); err != nil {
		return err
	}
	return h.checkStaging()
}

// checkName rejects a name that would not work in a URL, a metric or a log.
func checkName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("name %q: write 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit", name)
	}
	return nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkSplit rejects an invalid share, and one that does not go with the groups.
func (h *Handler) checkSplit() error {
	switch {
	case h.TrafficSplit != nil && checkPercent(*h.TrafficSplit) != nil:
		return fmt.Errorf("traffic_split: %v %w", *h.TrafficSplit, checkPercent(*h.TrafficSplit))
	case h.TrafficSplit != nil && h.Staging == nil:
		return errors.New("traffic_split: there is no staging group to send it to; add `staging <addresses...>`, or remove traffic_split")
	case h.Staging != nil && h.TrafficSplit == nil && len(h.StagingWhen) == 0 && h.Name == "":
		return errors.New("staging: no request could ever reach it; add `traffic_split <percent>` or `staging_when <matcher>`")
	}
	return nil
}

// checkStaging rejects what has no effect without a staging group.
func (h *Handler) checkStaging() error {
	if h.Sticky != nil {
		if err := h.Sticky.check(); err != nil {
			return err
		}
	}
	if h.Staging != nil {
		return nil
	}
	for _, option := range []struct {
		name  string
		given bool
	}{
		{"sticky", h.Sticky != nil},
		{"staging_when", len(h.StagingWhen) > 0},
		{"production_when", len(h.ProductionWhen) > 0},
		{"staging_fallback", h.StagingFallback != nil},
		{"release", h.Release != nil},
	} {
		if option.given {
			return fmt.Errorf("%s: there is no staging group; add `staging <addresses...>`, or remove %s", option.name, option.name)
		}
	}
	return nil
}
