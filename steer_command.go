package proxyos

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// exitNotDrained is the exit code of promote and rollback if the split is changed, but
// requests are still in flight when the time is up.
const exitNotDrained = 4

const defaultDrain = 30 * time.Second

// steerCommands returns the commands that watch and steer the routes of a running Caddy.
func steerCommands() []*cobra.Command {
	list := steerCommand("list", "Lists the routes, with their splits and health", `
Also lists routes without a name. You cannot steer them. To steer a route, give
it a name with the subdirective name. With --cluster, lists each instance that
shares the storage, marks one whose share differs from that of the instance you
ask, and one that has not been heard of for three minutes.`, "caddy proxyos list", cobra.NoArgs,
		func(c adminClient, out printer, fl caddycmd.Flags, _ []string) (int, error) {
			routes, err := c.list()
			if err != nil {
				return 1, err
			}
			if !fl.Bool("cluster") {
				return 0, out.list(routes)
			}
			records, err := c.instances()
			if err != nil {
				return 1, err
			}
			return 0, out.cluster(routes, records, time.Now())
		})
	list.Flags().Bool("cluster", false, "List all instances that share the storage")
	show := steerCommand("show <name>", "Shows one route and its upstreams", `
Shows the split, who set it and when, and the health and the requests of each
upstream.`, "caddy proxyos show app", cobra.ExactArgs(1),
		func(c adminClient, out printer, fl caddycmd.Flags, args []string) (int, error) {
			route, err := c.show(args[0])
			return out.orError(route, err)
		})
	split := steerCommand("split <name> <percent>", "Sets the percentage of requests for staging", `
The new percentage applies from the next request on, and to all instances that
share Caddy's storage. It survives restarts. It applies until you set another
one, reset it, or edit the configured one.`, "caddy proxyos split app 25", cobra.ExactArgs(2),
		func(c adminClient, out printer, fl caddycmd.Flags, args []string) (int, error) {
			percent, err := parsePercent(args[1])
			if err != nil {
				return 2, err
			}
			route, err := c.split(args[0], percent, operator())
			return out.orError(route, err)
		})
	promote := steerCommand("promote <name>", "Sends all requests to staging, and drains production", `
Sets the percentage for staging to 100, then waits until production has no
request in flight. If it still has some when the time is up, exits with code 4
and leaves the percentage at 100.`,
		"caddy proxyos promote app --drain 1m", cobra.ExactArgs(1),
		func(c adminClient, out printer, fl caddycmd.Flags, args []string) (int, error) {
			return drain(c, out, fl, args[0], 100, production)
		})
	rollback := steerCommand("rollback <name>", "Sends all requests to production, and drains staging", `
Sets the percentage for staging to 0, then waits until staging has no request in
flight. If it still has some when the time is up, exits with code 4 and leaves
the percentage at 0.`,
		"caddy proxyos rollback app", cobra.ExactArgs(1),
		func(c adminClient, out printer, fl caddycmd.Flags, args []string) (int, error) {
			return drain(c, out, fl, args[0], 0, staging)
		})
	for _, command := range []*cobra.Command{promote, rollback} {
		command.Flags().Bool("cluster", false, "Wait until all instances that share the storage have the share, too")
		command.Flags().Duration("drain", defaultDrain, "How long to wait; 0: do not wait")
	}
	reset := steerCommand("reset <name>", "Returns to the configured percentage", `
Drops the percentage that split, promote or rollback set. The configured one
applies again.`, "caddy proxyos reset app", cobra.ExactArgs(1),
		func(c adminClient, out printer, fl caddycmd.Flags, args []string) (int, error) {
			route, err := c.reset(args[0])
			return out.orError(route, err)
		})
	return []*cobra.Command{list, show, split, promote, rollback, reset}
}

type steerFunc func(adminClient, printer, caddycmd.Flags, []string) (exitCode int, err error)

func steerCommand(use, short, long, example string, args cobra.PositionalArgs, run steerFunc) *cobra.Command {
	command := &cobra.Command{Use: use, Short: short, Long: short + ".\n" + long, Example: "  " + example, Args: args}
	command.Flags().String("address", "", "Admin API to ask (default: from the config, or localhost:2019)")
	command.Flags().StringP("config", "c", "", "Config file that has the address of the admin API")
	command.Flags().StringP("adapter", "a", "", "Name of the config adapter for that file")
	command.Flags().Bool("json", false, "Print JSON")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		return caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
			client, err := newAdminClient(fl)
			if err != nil {
				return 1, err
			}
			return run(client, printer{out: cmd.OutOrStdout(), json: fl.Bool("json")}, fl, args)
		})(cmd, args)
	}
	return command
}

// drain sets the split, then waits until the other group has nothing in flight.
func drain(c adminClient, out printer, fl caddycmd.Flags, name string, percent float64, leaving string) (int, error) {
	limit := fl.Duration("drain")
	if limit < 0 {
		return 2, fmt.Errorf("--drain %s is negative; write how long to wait, or 0 to not wait", limit)
	}
	route, err := c.split(name, percent, operator())
	if err != nil {
		return 1, err
	}
	for deadline := time.Now().Add(limit); limit > 0 && route.inFlight(leaving) > 0; {
		if !time.Now().Before(deadline) {
			_ = out.route(route)
			return exitNotDrained, fmt.Errorf("route %q is at %g %%, but %s still has %d requests in flight after %s",
				name, percent, leaving, route.inFlight(leaving), limit)
		}
		time.Sleep(min(100*time.Millisecond, time.Until(deadline)))
		if route, err = c.show(name); err != nil {
			return 1, err
		}
	}
	if fl.Bool("cluster") {
		if err := awaitCluster(c, name, percent, max(limit, clusterWait)); err != nil {
			_ = out.route(route)
			return exitNotDrained, fmt.Errorf("route %q is at %g %% here, but not everywhere: %w", name, percent, err)
		}
	}
	return 0, out.route(route)
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

// operator returns who runs the command, as user@host.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name[:min(len(name), 200)]
}
