package proxyos

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// steerOptions are the flags of the commands that watch and steer. Each command has some.
type steerOptions struct {
	address, config, adapter string
	json                     bool
	cluster                  bool
	force                    bool
	watch                    bool // redraw
	follow                   bool // watch a release until it is over
	drain                    seconds
	wait                     seconds
}

// addTo adds the flags that all commands have.
func (o *steerOptions) addTo(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&o.address, "address", "", "Admin API to ask (default: localhost:2019)")
	flags.StringVarP(&o.config, "config", "c", "", "Config file that has the admin API's address")
	flags.StringVarP(&o.adapter, "adapter", "a", "", "Name of that file's config adapter")
	flags.BoolVar(&o.json, "json", false, "Print JSON")
}

// command returns a command with these options. Its usage names the arguments that it takes.
func (o *steerOptions) command(use, short, long, example string, run func(adminClient, printer, []string) (int, error)) *cobra.Command {
	arguments := strings.Fields(use)[1:]
	command := &cobra.Command{Use: use, Short: short, Long: short + ".\n" + long, Example: "  " + example, Args: takes(arguments...)}
	if len(arguments) > 0 {
		command.ValidArgsFunction = completeNames(o)
	} else {
		command.ValidArgsFunction = cobra.NoFileCompletions
	}
	o.addTo(command)
	command.RunE = runs(func(cmd *cobra.Command, args []string) (int, error) {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		client, err := newAdminClient(ctx, o)
		if err != nil {
			return exitFailed, err
		}
		out := printer{out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(), json: o.json, colors: takesColor(cmd.OutOrStdout())}
		if o.watch {
			return redraw(ctx, out, func(page printer) (int, error) { return run(client, page, args) })
		}
		return run(client, out, args)
	})
	return command
}

// draining adds the flags of a command that waits until a group has nothing in flight.
func (o *steerOptions) draining(command *cobra.Command) *cobra.Command {
	o.drain = seconds(defaultDrain)
	o.forcible(command)
	command.Flags().BoolVar(&o.cluster, "cluster", false, "Wait until all instances have the share, too")
	command.Flags().Var(&o.drain, "drain", "How long to wait; 0: do not wait")
	return command
}

// forcible adds the flag of a command that may be refused.
func (o *steerOptions) forcible(command *cobra.Command) *cobra.Command {
	command.Flags().BoolVar(&o.force, "force", false, "Do it even if no upstream is left to serve requests")
	return command
}

// seconds is a duration as a flag. A number without a unit is in seconds.
type seconds time.Duration

// Set reads the flag.
func (s *seconds) Set(text string) error {
	written := text
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		written += "s"
	}
	d, err := time.ParseDuration(written)
	if err != nil {
		return fmt.Errorf("%q is not a duration; write one such as 30s or 2m", text)
	}
	*s = seconds(d)
	return nil
}

// String returns the duration as it may be written.
func (s *seconds) String() string { return time.Duration(*s).String() }

// Type names the value in the help.
func (*seconds) Type() string { return "duration" }

// Interface guard
var _ pflag.Value = (*seconds)(nil)
