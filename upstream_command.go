package proxyos

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// upstreamCommands returns the commands that steer an upstream of a route.
func upstreamCommands() []*cobra.Command {
	return []*cobra.Command{drainCommand(), readyCommand(), weightCommand()}
}

func drainCommand() *cobra.Command {
	o := new(steerOptions)
	drain := o.forcible(o.command("drain <name> <upstream>", "Sends an upstream no new requests", `
Requests in flight and WebSockets end by themselves; --wait waits until the
upstream has none. Other routes that have it go on sending it requests. It stays
drained on all instances that share Caddy's storage and have it configured in
the same way, and through restarts, until you set it to ready or edit its group,
scheme or weight. The share of its group stays as it is. Refused if the group
would have no upstream left that is up.`, "caddy proxyos drain app 127.0.0.1:3000 --wait 1m",
		func(c adminClient, out printer, args []string) (int, error) {
			state := stateDrain
			return steerUpstream(c, out, o, args[0], args[1], upstreamChange{State: &state})
		}))
	drain.Flags().Var(&o.wait, "wait", "How long to wait until it has none")
	drain.ValidArgsFunction = completeUpstreams(o)
	return drain
}

func readyCommand() *cobra.Command {
	o := new(steerOptions)
	ready := o.forcible(o.command("ready <name> <upstream>", "Sends a drained upstream requests again", `
Takes back what drain did. A weight that was set stays.`, "caddy proxyos ready app 127.0.0.1:3000",
		func(c adminClient, out printer, args []string) (int, error) {
			state := stateReady
			return steerUpstream(c, out, o, args[0], args[1], upstreamChange{State: &state})
		}))
	ready.ValidArgsFunction = completeUpstreams(o)
	return ready
}

func weightCommand() *cobra.Command {
	o := new(steerOptions)
	weight := o.forcible(o.command("weight <name> <upstream> <weight>", "Sets the weight of an upstream in its group", `
An upstream of weight 3 gets three times as many of its group's requests as one
of weight 1, and one of weight 0 gets none. From 0 to 1000. The weight applies
from the next request on, on all instances that share Caddy's storage, and
through restarts, until you set another one, or edit its group, scheme or
weight. Setting the configured weight takes back what was set.`, "caddy proxyos weight app 127.0.0.1:3000 3",
		func(c adminClient, out printer, args []string) (int, error) {
			n, err := strconv.Atoi(args[2])
			if err != nil {
				return exitUsage, usageErrorf("%q is not a weight; write a whole number from 0 to %d", args[2], maxWeight)
			}
			if err := checkWeight(n); err != nil {
				return exitUsage, usageErrorf("%v", err)
			}
			return steerUpstream(c, out, o, args[0], args[1], upstreamChange{Weight: &n})
		}))
	weight.ValidArgsFunction = completeUpstreams(o)
	return weight
}

// steerUpstream changes an upstream of a route, and waits until it has nothing in flight if that is
// asked for.
func steerUpstream(c adminClient, out printer, o *steerOptions, name, written string, change upstreamChange) (int, error) {
	limit := time.Duration(o.wait)
	if limit < 0 {
		return exitUsage, usageErrorf("--wait %s is negative; write how long to wait, or 0 to not wait", limit)
	}
	dial, err := c.upstreamNamed(name, written)
	if err != nil {
		return exitFailed, err
	}
	change.By, change.Force = operator(), o.force
	var route routeStatus
	if err := c.ofRoute(name, c.change(http.MethodPatch, c.upstreamPath(name, dial), change, &route)); err != nil {
		return exitFailed, err
	}
	inFlight := func(r routeStatus) int64 { return r.inFlightAt(dial) }
	route, late, err := awaitIdle(c, out, route, "at "+dial, limit, inFlight)
	switch {
	case err != nil:
		return exitFailed, err
	case limit > 0 && !slices.Contains(route.dials(), dial):
		return exitNotDrained, fmt.Errorf("the config no longer has %s, so nobody knows how many requests are still in flight there; wait as long as they may take", dial)
	case late:
		_ = out.route(route)
		return exitNotDrained, fmt.Errorf("%s gets no new requests, but still has %s in flight after %s", dial, requests(inFlight(route)), limit)
	}
	return 0, out.route(route)
}

func (c adminClient) upstreamPath(name, dial string) string {
	return c.path(name) + "/upstreams/" + url.PathEscape(dial)
}

// upstreamNamed returns the dial address of a route's upstream that is named by it, or by its
// address as it is configured.
func (c adminClient) upstreamNamed(name, written string) (dial string, err error) {
	route, err := c.show(name)
	if err != nil {
		return "", err
	}
	dials := route.dials()
	for _, g := range route.Groups {
		for _, u := range g.Upstreams {
			bare := strings.TrimPrefix(written, u.Scheme+"://")
			if u.Dial == bare || u.Address == written || u.Address == bare {
				return u.Dial, nil
			}
		}
	}
	switch near := nearest(written, dials); {
	case near != "":
		return "", fmt.Errorf("route %q has no upstream %q; did you mean %s?", name, written, near)
	case len(dials) == 0:
		return "", fmt.Errorf("route %q has dynamic upstreams only, which cannot be steered", name)
	case len(dials) > 10:
		return "", fmt.Errorf("route %q has no upstream %q; `caddy proxyos show %s` lists those that it has", name, written, name)
	}
	return "", fmt.Errorf("route %q has no upstream %q; it has %s", name, written, strings.Join(dials, ", "))
}

// dials returns the dial addresses of all upstreams.
func (s routeStatus) dials() []string {
	var dials []string
	for _, g := range s.Groups {
		for _, u := range g.Upstreams {
			dials = append(dials, u.Dial)
		}
	}
	return dials
}

// inFlightAt returns how many requests are in flight at a dial address.
func (s routeStatus) inFlightAt(dial string) (n int64) {
	for _, g := range s.Groups {
		for _, u := range g.Upstreams {
			if u.Dial == dial {
				n += int64(u.InFlight)
			}
		}
	}
	return n
}

// completeUpstreams completes the name of a route, then the address of one of its upstreams.
func completeUpstreams(o *steerOptions) cobra.CompletionFunc {
	names := completeNames(o)
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return names(cmd, args, typed)
		}
		return completeFrom(o, func(c adminClient) ([]string, error) {
			route, err := c.show(args[0])
			return route.dials(), err
		})
	}
}
