package proxyos

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// printer prints responses of the admin API: for people, in 80 columns, or as JSON.
type printer struct {
	out   io.Writer
	notes io.Writer // what is to be read while a command runs, and belongs to no output
	json  bool

	colors bool
}

func (p printer) orError(route routeStatus, err error) (int, error) {
	if err != nil {
		return exitFailed, err
	}
	return 0, p.route(route)
}

func (p printer) list(routes []routeStatus) error {
	if p.json {
		return printJSON(p.out, routes)
	}
	if len(routes) == 0 {
		return errors.New("no proxyos route is configured")
	}
	rows := [][]string{{"NAME", "STAGING", "CONFIGURED", "PRODUCTION UP", "STAGING UP", "IN FLIGHT"}}
	for _, route := range routes {
		row := []string{route.shown(), percentText(route.TrafficSplit), percentText(route.ConfiguredSplit)}
		var inFlight int64
		for _, g := range route.Groups {
			cell := g.up()
			if g.isFailing() {
				cell += ", failing"
			}
			row = append(row, cell)
			inFlight += g.InFlight
		}
		if len(route.Groups) < 2 {
			row[1], row[2], row = "-", "-", append(row, "-")
		}
		rows = append(rows, append(row, fmt.Sprint(inFlight)))
	}
	fit(0, rows)
	table(p.out, "", rows, p.paint)
	for _, route := range routes {
		for _, g := range route.Groups {
			if g.isFailing() {
				note := fmt.Sprintf("%s %s, %s", g.Name, g.up(), g.failing())
				fmt.Fprintln(p.out, p.color(red, wrapped(clip(route.shown(), 30)+": ", note)))
			}
			for _, u := range g.Upstreams {
				if u.Override != nil {
					fmt.Fprintln(p.out, wrapped(clip(route.shown(), 30)+": ", clip(u.Dial, 40)+" "+u.Override.text()))
				}
			}
		}
		if s := route.Release; s != nil && (s.isActive() || s.Failed) {
			p.paragraph(s.color(), clip(route.shown(), 30)+": ", s.short())
		}
		if route.Override != nil && route.Override.UnclearUntil != nil {
			fmt.Fprintln(p.out)
			p.unclear(route)
		}
	}
	return nil
}

// cluster prints the shares of all instances, and how they differ from those of the one that
// was asked.
func (p printer) cluster(routes []routeStatus, records []instanceRecord, now time.Time) error {
	if p.json {
		return printJSON(p.out, records)
	}
	rows := [][]string{{"INSTANCE", "ROUTE", "STAGING", "CONFIGURED", "HEARD", ""}}
	for _, record := range records {
		for _, route := range routes {
			share, ok := record.Shares[route.Name]
			if !ok {
				continue
			}
			mark := ""
			if share != route.TrafficSplit {
				mark = "differs"
			}
			if record.silent(now) {
				mark = "silent"
			}
			rows = append(rows, []string{record.Name + " " + record.ID, clip(route.Name, 20), percentText(share),
				percentText(record.Configured[route.Name]), now.Sub(record.Heard).Round(time.Second).String(), mark})
		}
	}
	if len(rows) == 1 {
		return errors.New("no instance has been heard of yet; the first record is written within a few seconds")
	}
	fit(0, rows)
	table(p.out, "", rows, p.paint)
	return nil
}

// unclear says that an override may have come to its end here.
func (p printer) unclear(route routeStatus) {
	fmt.Fprintln(p.out, wrapped(route.Name+": ", fmt.Sprintf("another instance was rolled out, and whether this one was is not clear; the share that was set applies until %s",
		route.Override.UnclearUntil.Local().Format(time.DateTime))))
	fmt.Fprintln(p.out, clip("  to end it now: caddy proxyos reset "+route.Name, lineWidth))
}

// shown is how the route is called in a list. One without a name cannot be steered.
func (s routeStatus) shown() string {
	if s.Name == "" {
		return "(" + s.Label + ")"
	}
	return s.Name
}

func (p printer) route(route routeStatus) error {
	if p.json {
		return printJSON(p.out, route)
	}
	share := fmt.Sprintf("%s to staging (configured: %s)", percentText(route.TrafficSplit), percentText(route.ConfiguredSplit))
	if len(route.Groups) < 2 {
		share = "no staging group"
	}
	fmt.Fprintln(p.out, wrapped(route.Name+": ", share))
	if o := route.Override; o != nil {
		fmt.Fprintln(p.out, clip(fmt.Sprintf("set %s by %s", o.SetAt.Local().Format(time.DateTime), o.SetBy), lineWidth))
		if o.UnclearUntil != nil {
			p.unclear(route)
		}
	}
	if s := route.Release; s != nil {
		p.releaseOf(route.Name, *s)
	}
	unchecked := false
	for _, g := range route.Groups {
		counts := fmt.Sprintf("%s, %s, %d in flight", requests(g.Requests), several(g.Errors, "error"), g.InFlight)
		if g.Name == staging {
			counts += fmt.Sprintf(", %d fell back", route.Fallbacks)
		}
		fmt.Fprintln(p.out, "\n"+wrapped(g.Name+": ", counts))
		if g.isFailing() {
			fmt.Fprintln(p.out, p.color(red, "  "+g.failing()))
		}
		if g.Dynamic {
			fmt.Fprintln(p.out, "  dynamic upstreams, known only at request time")
		}
		rows := [][]string{{"UPSTREAM", "SPEAKS", "WEIGHT", "HEALTH", "IN FLIGHT", "REQUESTS", "ERRORS"}}
		for _, u := range g.Upstreams {
			health := u.Health
			if u.Drained {
				health = "drained, " + health
			}
			if u.Backup {
				health += ", backup"
			}
			if u.WarmUp != nil {
				health += fmt.Sprintf(", %.0f %% warm", 100**u.WarmUp)
			}
			if health == healthUp && len(g.Upstreams) == 1 && g.isFailing() {
				health = "up, failing" // a single one is never marked as down
			}
			rows = append(rows, []string{u.Dial, u.speaks(), fmt.Sprint(u.Weight), health,
				fmt.Sprint(u.InFlight), fmt.Sprint(u.Requests), fmt.Sprint(u.Errors)})
		}
		if len(rows) > 1 {
			fit(2, rows)
			table(p.out, "  ", rows, p.paint)
		}
		for _, u := range g.Upstreams {
			if u.Override != nil {
				fmt.Fprintln(p.out, wrapped("  "+clip(u.Dial, 40)+": ", u.Override.text()))
			}
		}
		if note := g.whoServes(route.StagingFallback); note != "" {
			fmt.Fprintln(p.out, p.color(red, wrapped("  ", note)))
		}
		unchecked = unchecked || slices.ContainsFunc(g.Upstreams, upstreamStatus.unchecked)
	}
	fmt.Fprintln(p.out, "\n"+wrapped("ways: ", fmt.Sprintf("%s took the short way, %d went through reverse_proxy", requests(route.Ways.Short), route.Ways.ReverseProxy)))
	if unchecked {
		fmt.Fprintln(p.out, "\n(*) the certificate is not checked")
	}
	return nil
}

// up says how many upstreams are up. One that is on trial is not: it may still be down.
func (g groupStatus) up() string {
	up, onTrial, drained := 0, 0, 0
	for _, u := range g.Upstreams {
		if u.Drained {
			drained++
			continue
		}
		switch u.Health {
		case healthUp, healthFull:
			up++
		case healthTrial:
			onTrial++
		}
	}
	text := fmt.Sprintf("%d of %d", up, len(g.Upstreams))
	switch {
	case g.Dynamic && len(g.Upstreams) == 0:
		return "dynamic"
	case g.Dynamic:
		text += " +dyn"
	}
	if up == 0 && onTrial > 0 {
		text += ", " + healthTrial
	}
	if drained > 0 {
		text += fmt.Sprintf(", %d drained", drained)
	}
	return text
}

// text says what is set for an upstream, by whom and when.
func (o *setUpstream) text() string {
	var set []string
	if o.State == stateDrain {
		set = append(set, "drained")
	}
	if o.Weight != nil {
		set = append(set, fmt.Sprintf("weight %d (configured: %d)", *o.Weight, o.ConfiguredWeight))
	}
	return fmt.Sprintf("%s, set %s by %s", strings.Join(set, ", "), o.SetAt.Local().Format(time.DateTime), o.SetBy)
}

// whoServes says who gets the group's requests where none of its upstreams is to.
func (g groupStatus) whoServes(fallback *bool) string {
	isLeft := func(u upstreamStatus) bool { return !u.Drained && u.Weight > 0 }
	switch {
	case g.Dynamic, slices.ContainsFunc(g.Upstreams, isLeft):
		return ""
	case fallback != nil && *fallback && g.Name == staging:
		return "no upstream of staging is left: production serves its requests"
	}
	return fmt.Sprintf("no upstream of %s is left: its requests are answered with 503", g.Name)
}

// enoughFailures is how many of the latest requests have to have failed for a group to be shown
// as failing, if it has ever served one.
const enoughFailures = 3

// isFailing tells whether the group has answered nothing but errors for a while.
func (g groupStatus) isFailing() bool {
	return g.Failing >= enoughFailures || g.Failing > 0 && g.Failing == g.Requests
}

func (g groupStatus) failing() string {
	return fmt.Sprintf("failing: %d of the last %d", g.Failing, g.Failing)
}

func (u upstreamStatus) unchecked() bool { return u.TLSVerify != nil && !*u.TLSVerify }

func (u upstreamStatus) speaks() string {
	if u.unchecked() {
		return u.Scheme + " (*)"
	}
	return u.Scheme
}

func percentText(percent float64) string { return fmt.Sprintf("%.6g %%", percent) }
