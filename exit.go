package proxyos

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// The exit codes of the commands. docs/operations.md has them, too.
const (
	exitFailed     = 1 // not done; the reason is printed
	exitUsage      = 2 // the command line is not valid; nothing was sent
	exitRolledBack = 3 // the release that was watched is over, and not done
	exitNotDrained = 4 // the split is changed, but requests were still in flight when the time was up
	exitPaused     = 4 // the release that was watched is paused
)

// errFailed ends a command with exit code 1 if its output has already said why.
var errFailed = errors.New("failed")

// usageError says what is wrong with a command line.
type usageError struct{ problem string }

func (e *usageError) Error() string { return e.problem }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// runs makes a command of a function that returns an exit code. It prints the error itself: Caddy
// would print it as a line of its log.
func runs(run func(cmd *cobra.Command, args []string) (int, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		code, err := run(cmd, args)
		if err != nil {
			return fails(cmd, code, err)
		}
		return nil
	}
}

// fails ends a command with an error and an exit code. A usageError has a code of its own.
func fails(cmd *cobra.Command, code int, err error) error {
	cmd.SilenceErrors = true
	if !errors.Is(err, errFailed) {
		printError(cmd.ErrOrStderr(), err)
	}
	if _, isUsage := errors.AsType[*usageError](err); isUsage {
		fmt.Fprintf(cmd.ErrOrStderr(), "\nUsage:\n  %s\n", cmd.UseLine())
		code = exitUsage
	}
	if code <= exitFailed {
		return errFailed
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}

// printError prints an error for people, each of its lines wrapped.
func printError(w io.Writer, err error) {
	first := "Error: "
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(w, wrapped(first, line))
		first = "  "
	}
}

// takes checks the arguments of a command, which its usage names: "<name> <percent>". Those in
// brackets may be left out.
func takes(names ...string) cobra.PositionalArgs {
	needed := len(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasPrefix(name, "[") }))
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < needed:
			return fails(cmd, exitUsage, usageErrorf("%s: %s is missing", cmd.Name(), names[len(args)]))
		case len(args) > len(names) && len(names) == 0:
			return fails(cmd, exitUsage, usageErrorf("%s takes no argument, but is given %q", cmd.Name(), args[0]))
		case len(args) > len(names):
			return fails(cmd, exitUsage, usageErrorf("%s: %q is one argument too many", cmd.Name(), args[len(names)]))
		case len(args) > 0 && args[0] == "":
			return fails(cmd, exitUsage, usageErrorf("%s: %s is empty", cmd.Name(), names[0]))
		}
		return nil
	}
}

// wrongFlag is for a flag that cannot be read. A negative percentage looks like one.
func wrongFlag(cmd *cobra.Command, err error) error {
	text := err.Error()
	if _, number, ok := strings.Cut(text, " in -"); ok && (cmd.Name() == "split" || cmd.Name() == actionApprove) {
		if _, notPercent := parsePercent("-" + number); notPercent != nil && strings.Trim(number, ".0123456789%") == "" {
			return fails(cmd, exitUsage, usageErrorf("%v", notPercent))
		}
	}
	return fails(cmd, exitUsage, usageErrorf("%s; `%s --help` lists the flags", text, cmd.CommandPath()))
}

// unknownCommand runs where no subcommand is named, or none that there is.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
		return cmd.Help()
	}
	name := args[0]
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			name = arg
			break
		}
	}
	if strings.HasPrefix(name, "-") {
		return fails(cmd, exitUsage, usageErrorf("%s: flags come after a command; `%s --help` lists the commands", name, cmd.CommandPath()))
	}
	isCommand := func(name string) bool {
		return slices.ContainsFunc(cmd.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
	}
	if isCommand(name) {
		return fails(cmd, exitUsage, usageErrorf("the flags of %s come after it; `%s %s --help` lists them", name, cmd.CommandPath(), name))
	}
	cmd.SuggestionsMinimumDistance = 2
	if close := cmd.SuggestionsFor(name); len(close) > 0 {
		return fails(cmd, exitFailed, fmt.Errorf("there is no command %q; did you mean %s?", name, strings.Join(close, " or ")))
	}
	if i := slices.IndexFunc(args, isCommand); i > 0 {
		return fails(cmd, exitFailed, fmt.Errorf("there is no command %q; write it after %s: `%s %s %s`", name, args[i], cmd.CommandPath(), args[i], name))
	}
	return fails(cmd, exitFailed, fmt.Errorf("there is no command %q; `%s --help` lists them", name, cmd.CommandPath()))
}
