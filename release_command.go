package proxyos

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// releaseCommand returns the command that watches and steers releases, with its subcommands.
func releaseCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "release <command>",
		Short: "Watches and steers the release of a route",
		Long: `Watches and steers the release of a route.

A release raises the percentage of requests for staging step by step, as the
route's release subdirective says. It goes on by itself while staging does well,
and takes all requests back if staging fails or is slow.`,
		Example: "  caddy proxyos release start app --watch",

		// as the command above it
		DisableFlagParsing: true,
		RunE:               unknownCommand,
	}
	// cobra's last line would not fit into 80 columns
	command.SetUsageTemplate(strings.Replace(command.UsageTemplate(), "for more information about a command", "for more about one", 1))
	command.AddCommand(releaseStartCommand(), releaseStatusCommand(),
		releaseActionCommand(actionPause, "Keeps a release at its step", `
Staging keeps its share until you resume or abort the release. The time of the
pause counts neither for the step nor for the deadline. A release that turns out
to be failing ends all the same.`),
		releaseActionCommand(actionResume, "Goes on with a paused release", `
What was found so far still counts. But if the release was paused since it has
failed, the step begins again, with nothing found.`),
		releaseApproveCommand(),
		releaseActionCommand(actionAbort, "Ends a release, and takes all requests back from staging", `
Production gets all requests from the next one on. Does not wait until staging
has none in flight.`))
	return command
}

func releaseStartCommand() *cobra.Command {
	o := new(steerOptions)
	start := o.ofRelease(o.command("start <name>", "Starts the release of a route", `
The first step begins at once. Refused if staging cannot serve requests or has
more of them than the first step, or if a release is not over yet.
`+watchHelp, "caddy proxyos release start app --watch",
		func(c adminClient, out printer, args []string) (int, error) {
			status, err := c.changeOfRelease(args[0], releaseChange{Action: actionStart, Force: o.force})
			return out.orWatch(c, o, args[0], status, err)
		}))
	start.Flags().BoolVar(&o.force, "force", false, "Start it even if staging cannot serve, or has more now")
	o.followable(start)
	return start
}

func releaseStatusCommand() *cobra.Command {
	o := new(steerOptions)
	status := o.ofRelease(o.command("status <name>", "Shows where the release of a route is", `
Shows its steps, what was found on the present one, and what it waits for.
`+watchHelp, "caddy proxyos release status app",
		func(c adminClient, out printer, args []string) (int, error) {
			status, err := c.release(args[0])
			if err == nil && o.follow && status.Phase == noRelease {
				return exitFailed, fmt.Errorf("route %q has no release to watch; %s", args[0], status.Reason)
			}
			return out.orWatch(c, o, args[0], status, err)
		}))
	o.followable(status)
	return status
}

// watchHelp is what the commands that watch say about it.
const watchHelp = `
With --watch, shows how it goes on until it is over or paused. Exits with code 0
if it is done, 3 if it was rolled back or stopped, and 4 if it is
paused. Ctrl-C ends the watching with code 1, and leaves the release as it is.
If Caddy does not answer for a minute, exits with code 1, too.`

func releaseApproveCommand() *cobra.Command {
	o := new(steerOptions)
	approve := o.ofRelease(o.command("approve <name> [percent]", "Lets a step begin that must be approved", `
The step still begins only when it is its turn. Without a percentage, approves
the next step that has to be approved and is not.`, "caddy proxyos release approve app 50",
		func(c adminClient, out printer, args []string) (int, error) {
			step, code, err := stepToApprove(c, args)
			if err != nil {
				return code, err
			}
			status, err := c.changeOfRelease(args[0], releaseChange{Action: actionApprove, Percent: &step})
			return out.orWatch(c, o, args[0], status, err)
		}))
	names := approve.ValidArgsFunction
	approve.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return names(cmd, args, typed)
		}
		return completeFrom(o, func(c adminClient) (steps []string, err error) {
			status, err := c.release(args[0])
			for _, step := range status.unapproved() {
				steps = append(steps, strconv.FormatFloat(step, 'f', -1, 64))
			}
			return steps, err
		})
	}
	return approve
}

// stepToApprove returns the step that is named, or the next one that waits for approval.
func stepToApprove(c adminClient, args []string) (step float64, code int, err error) {
	if len(args) > 1 {
		step, err = parsePercent(args[1])
		if err != nil {
			return 0, exitUsage, usageErrorf("%v", err)
		}
		return step, 0, nil
	}
	status, err := c.release(args[0])
	if err != nil {
		return 0, exitFailed, err
	}
	steps := status.unapproved()
	switch {
	case !status.isActive():
		return 0, exitFailed, fmt.Errorf("no release of route %q is running, so no step waits for approval", args[0])
	case len(steps) == 0:
		return 0, exitFailed, fmt.Errorf("no step of the release of route %q waits for approval", args[0])
	}
	return steps[0], 0, nil
}

// releaseActionCommand returns a command that has an action of the admin API done.
func releaseActionCommand(action, short, long string) *cobra.Command {
	o := new(steerOptions)
	return o.ofRelease(o.command(action+" <name>", short, long, "caddy proxyos release "+action+" app",
		func(c adminClient, out printer, args []string) (int, error) {
			status, err := c.changeOfRelease(args[0], releaseChange{Action: action})
			return out.orWatch(c, o, args[0], status, err)
		}))
}

// ofRelease makes a command complete the names of the routes that have a release.
func (o *steerOptions) ofRelease(command *cobra.Command) *cobra.Command {
	command.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeFrom(o, func(c adminClient) ([]string, error) {
			routes, err := c.list()
			return namesOf(slices.DeleteFunc(routes, func(r routeStatus) bool { return r.Release == nil })), err
		})
	}
	return command
}

// followable adds the flag of a command that can watch a release to its end.
func (o *steerOptions) followable(command *cobra.Command) {
	command.Flags().BoolVarP(&o.follow, "watch", "w", false, "Watch it until it is over or paused")
}

// release asks where the release of a route is.
func (c adminClient) release(name string) (status releaseStatus, err error) {
	return status, c.ofRoute(name, c.do(http.MethodGet, c.releasePath(name), nil, &status))
}

// changeOfRelease changes the release of a route. If another instance has changed it meanwhile,
// pausing and aborting are still wanted. Starting, resuming and approving may no longer be.
func (c adminClient) changeOfRelease(name string, change releaseChange) (status releaseStatus, err error) {
	change.By = operator()
	post := c.do
	if change.Action == actionPause || change.Action == actionAbort {
		post = c.change
	}
	return status, c.ofRoute(name, post(http.MethodPost, c.releasePath(name), change, &status))
}

func (c adminClient) releasePath(name string) string { return c.path(name) + "/release" }

// orWatch prints the release, or watches it if that is asked for.
func (p printer) orWatch(c adminClient, o *steerOptions, name string, status releaseStatus, err error) (int, error) {
	switch {
	case err != nil:
		return exitFailed, err
	case o.follow:
		return newReleaseWatch(c, p, name).run(status)
	}
	return 0, p.release(name, status)
}
