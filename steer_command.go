package proxyos

import (
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"
)

// steerCommands returns the commands that watch and steer the routes of a running Caddy.
func steerCommands() []*cobra.Command {
	return []*cobra.Command{listCommand(), showCommand(), splitCommand(), promoteCommand(), rollbackCommand(), resetCommand()}
}

func listCommand() *cobra.Command {
	o := new(steerOptions)
	list := o.watchable(o.command("list", "Lists the routes, with their splits and health", `
Also lists routes without a name. You cannot steer them. To steer a route, give
it a name with the subdirective name.

An upstream counts as up unless it is known to be down, or is on trial. A group
is failing if its latest requests have all been answered with an error.

With --cluster, lists each instance that shares the storage, marks one whose
share differs from that of the instance you ask, and one that has not been heard
of for three minutes.`, "caddy proxyos list",
		func(c adminClient, out printer, _ []string) (int, error) {
			routes, err := c.list()
			if err != nil {
				return exitFailed, err
			}
			if !o.cluster {
				return exitFailed, out.list(routes)
			}
			records, err := c.instances()
			if err != nil {
				return exitFailed, err
			}
			return exitFailed, out.cluster(routes, records, time.Now())
		}))
	list.Flags().BoolVar(&o.cluster, "cluster", false, "List all instances that share the storage")
	return list
}

func showCommand() *cobra.Command {
	o := new(steerOptions)
	return o.watchable(o.command("show <name>", "Shows one route and its upstreams", `
Shows the split, who set it and when, and the health and the requests of each
upstream.`, "caddy proxyos show app",
		func(c adminClient, out printer, args []string) (int, error) {
			route, err := c.show(args[0])
			return out.orError(route, err)
		}))
}

func splitCommand() *cobra.Command {
	o := new(steerOptions)
	return o.forcible(o.command("split <name> <percent>", "Sets the percentage of requests for staging", `
The new percentage applies from the next request on, and to all instances that
share Caddy's storage. It survives restarts. It applies until you set another
one, reset it, or edit the configured one. It is refused if it sends more
requests to a group that cannot serve any.`, "caddy proxyos split app 25",
		func(c adminClient, out printer, args []string) (int, error) {
			percent, err := parsePercent(args[1])
			if err != nil {
				return exitUsage, usageErrorf("%v", err)
			}
			route, err := c.split(args[0], percent, o.force)
			return out.orError(route, err)
		}))
}

func promoteCommand() *cobra.Command {
	o := new(steerOptions)
	return o.draining(o.command("promote <name>", "Sends all requests to staging, and drains production", `
Sets the percentage for staging to 100, then waits until production has no
request in flight. If it still has some when the time is up, exits with code 4
and leaves the percentage at 100. Refused if staging cannot serve requests.`, "caddy proxyos promote app --drain 1m",
		func(c adminClient, out printer, args []string) (int, error) {
			return drain(c, out, o, args[0], 100, production)
		}))
}

func rollbackCommand() *cobra.Command {
	o := new(steerOptions)
	return o.draining(o.command("rollback <name>", "Sends all requests to production, and drains staging", `
Sets the percentage for staging to 0, then waits until staging has no request in
flight. If it still has some when the time is up, exits with code 4 and leaves
the percentage at 0. Refused if production cannot serve requests.`, "caddy proxyos rollback app",
		func(c adminClient, out printer, args []string) (int, error) {
			return drain(c, out, o, args[0], 0, staging)
		}))
}

func resetCommand() *cobra.Command {
	o := new(steerOptions)
	return o.command("reset <name>", "Returns to the configured percentage", `
Drops the percentage that split, promote or rollback set. The configured one
applies again.`, "caddy proxyos reset app",
		func(c adminClient, out printer, args []string) (int, error) {
			route, err := c.reset(args[0])
			return out.orError(route, err)
		})
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
