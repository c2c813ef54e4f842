package proxyos

import (
	"errors"
	"fmt"
	"strings"
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
	inFlight := func(r routeStatus) int64 { return r.inFlight(leaving) }
	route, late, err := awaitIdle(c, out, route, "in "+leaving, limit, inFlight)
	if err != nil {
		return exitFailed, err
	}
	if late {
		_ = out.route(route)
		return exitNotDrained, fmt.Errorf("route %q is at %g %%, but %s still has %s in flight after %s",
			name, percent, leaving, requests(inFlight(route)), limit)
	}
	if o.cluster {
		if err := awaitCluster(c, name, percent, max(limit, clusterWait)); err != nil {
			_ = out.route(route)
			return exitNotDrained, fmt.Errorf("route %q is at %g %% here, but not everywhere: %w", name, percent, err)
		}
	}
	return 0, out.route(route)
}

// awaitIdle waits until a route has nothing in flight in some place, and says meanwhile what it waits
// for. It returns the route as it is then, and whether it is late: the time was up first.
func awaitIdle(c adminClient, out printer, route routeStatus, where string, limit time.Duration, inFlight func(routeStatus) int64) (now routeStatus, late bool, err error) {
	line := newProgress(out.notes)
	defer line.end()
	for deadline := time.Now().Add(limit); limit > 0 && inFlight(route) > 0; {
		if !time.Now().Before(deadline) {
			return route, true, nil
		}
		line.show(fmt.Sprintf("%s: waiting for %s in flight %s, %s left", route.Name, requests(inFlight(route)), where,
			time.Until(deadline).Round(time.Second)))
		time.Sleep(min(100*time.Millisecond, time.Until(deadline)))
		if route, err = c.show(route.Name); err != nil {
			return route, false, err
		}
	}
	return route, false, nil
}

// clusterWait is how long promote and rollback wait for other instances at least: two intervals
// of the default sync_interval, and a moment.
const clusterWait = 11 * time.Second

// awaitCluster waits until all instances have a share. It does not wait for those that are
// silent, but they are late, too.
func awaitCluster(c adminClient, name string, percent float64, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(200 * time.Millisecond) {
		records, err := c.instances()
		late, worthwhile := lateInstances(records, name, percent, time.Now())
		switch {
		case err == nil && len(late) == 0 && len(records) > 0:
			return nil
		case time.Now().Before(deadline) && (worthwhile || err != nil || len(records) == 0):
			continue
		case err != nil:
			return err
		case len(records) == 0:
			return errors.New("no instance has written of itself yet")
		}
		return errors.New(strings.Join(late, "; "))
	}
}

// lateInstances says which instances do not have a share, and whether that is worth waiting for.
func lateInstances(records []instanceRecord, name string, percent float64, now time.Time) (late []string, worthwhile bool) {
	for _, record := range records {
		share, ok := record.Shares[name]
		switch {
		case record.Heard.IsZero():
			late = append(late, fmt.Sprintf("what instance %s wrote of itself cannot be read", record.ID))
			worthwhile = true
		case !ok || share == percent:
		case record.silent(now):
			late = append(late, fmt.Sprintf("instance %s (%s) had %s, and is silent since %s; if it is gone for good, delete %s/%s in the storage",
				record.Name, record.ID, percentText(share), record.Heard.Local().Format(time.DateTime), instancesFolder, record.ID))
		default:
			late = append(late, fmt.Sprintf("instance %s (%s) has %s, as of %s", record.Name, record.ID, percentText(share), record.Heard.Local().Format(time.TimeOnly)))
			worthwhile = true
		}
	}
	return late, worthwhile
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
func requests[N int64 | uint64](n N) string { return several(n, "request") }

// several says how many there are of something.
func several[N int64 | uint64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
