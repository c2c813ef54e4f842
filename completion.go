package proxyos

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// completionTime is how long a shell waits for the names of routes at most.
const completionTime = 300 * time.Millisecond

// completeNames completes the name of a route in a shell. It asks the admin API, and completes
// nothing if that does not answer soon.
func completeNames(o *steerOptions) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeFrom(o, func(c adminClient) ([]string, error) {
			routes, err := c.list()
			return namesOf(routes), err
		})
	}
}

// completeFrom completes to what the admin API knows.
func completeFrom(o *steerOptions, ask func(adminClient) ([]string, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	client, err := newAdminClient(ctx, o)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	known, err := ask(client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return known, cobra.ShellCompDirectiveNoFileComp
}

// namesOf returns the names of the routes that have one.
func namesOf(routes []routeStatus) []string {
	var names []string
	for _, route := range routes {
		if route.Name != "" {
			names = append(names, route.Name)
		}
	}
	return names
}

// nearest returns the name that differs from a mistyped one in the fewest characters, or nothing
// if none is near.
func nearest(written string, names []string) string {
	best, least := "", 1+min(2, len(written)/2)
	for _, name := range names {
		if d := distance(written, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is how many characters have to be added, removed or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := slices.Clone(row)
		row[0] = i + 1
		for j := range len(b) {
			replaced := before[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(replaced, before[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
