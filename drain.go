package proxyos

import (
	"fmt"
	"time"
)

const defaultDrain = 30 * time.Second

// drain sets the split, then waits until the other group has nothing in flight.
func drain(c adminClient, out printer, o *steerOptions, name string, percent float64, leaving string) (int, error) {
	limit := time.Duration(o.drain)
	if limit < 0 {
		return exitUsage, usageErrorf("--drain %s is negative; write how long to wait, or 0 to not wait", limit)
	}
	route, err := c.split(name, percent, o.force)
	if err != nil {
		return exitFailed, err
	}
	line := newProgress(out.notes)
	defer line.end()
	for deadline := time.Now().Add(limit); limit > 0 && route.inFlight(leaving) > 0; {
		if !time.Now().Before(deadline) {
			line.end()
			_ = out.route(route)
			return exitNotDrained, fmt.Errorf("route %q is at %g %%, but %s still has %s in flight after %s",
				name, percent, leaving, requests(route.inFlight(leaving)), limit)
		}
		line.show(fmt.Sprintf("%s: waiting for %s in flight in %s, %s left", name, requests(route.inFlight(leaving)), leaving,
			time.Until(deadline).Round(time.Second)))
		time.Sleep(min(100*time.Millisecond, time.Until(deadline)))
		if route, err = c.show(name); err != nil {
			return exitFailed, err
		}
	}
	line.end()
	if o.cluster {
		if late, err := awaitCluster(c, name, percent, max(limit, time.Second)); late != "" || err != nil {
			_ = out.route(route)
			return exitNotDrained, fmt.Errorf("route %q is at %g %% here, but not on %s: %w", name, percent, late, err)
		}
	}
	return 0, out.route(route)
}

// awaitCluster waits until all instances that are heard of have a share.
func awaitCluster(c adminClient, name string, percent float64, limit time.Duration) (late string, err error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(200 * time.Millisecond) {
		records, err := c.instances()
		late = "any instance"
		if err == nil {
			late = ""
			for _, record := range records {
				if share, ok := record.Shares[name]; ok && share != percent {
					late = fmt.Sprintf("%s (%s)", record.Name, record.ID)
					err = fmt.Errorf("it has %g %%, and was heard of at %s", share, record.Heard.Local().Format(time.TimeOnly))
				}
			}
		}
		if late == "" || !time.Now().Before(deadline) {
			return late, err
		}
	}
}

func (s routeStatus) inFlight(group string) int64 {
	for _, g := range s.Groups {
		if g.Name == group {
			return g.InFlight
		}
	}
	return 0
}

// requests says how many requests.
func requests(n int64) string {
	if n == 1 {
		return "1 request"
	}
	return fmt.Sprintf("%d requests", n)
}
