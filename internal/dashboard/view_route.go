package dashboard

import (
	"strconv"
	"time"
)

// routeView is the page of one route.
type routeView struct {
	Name, Label, Site string
	IsUnnamed         bool
	Steers            bool // it has controls
	HasStaging        bool

	Share, ShareValue, Configured, SetBy cell
	IsSet                                cell // hides what goes back to the configured share
	Version                              cell

	Groups  []groupView
	Extras  []extraView
	Release *releaseView
	Changes changesView
}

// extraView is something that is counted for a route.
type extraView struct {
	Name  string
	Value cell
	Total cell
	Chart chart
}

// groupView is production or staging.
type groupView struct {
	Name    string
	Dynamic bool
	Health  groupHealth
	Metrics []metricView

	Upstreams []upstreamView
}

// metricView is a number of a group with its line.
type metricView struct {
	Name         string
	Value, Class cell
	Chart        chart
}

func (b *builder) route(ref string, r *Route, changes []Change, controls bool) *routeView {
	v := &routeView{Name: b.fix(r.Name), Label: b.fix(short(r.Label)), Site: b.fix(short(r.Site)),
		IsUnnamed: b.fixIf(r.Name == ""), HasStaging: b.fixIf(r.Split != nil)}
	v.Steers = controls && !v.IsUnnamed
	if v.HasStaging {
		b.share(v, r)
	}
	for k := range r.Groups {
		v.Groups = append(v.Groups, b.group(indexed("", "g", k), ref, &r.Groups[k], v.Steers))
	}
	v.Extras = append(v.Extras, b.extra("retries", "Retries", ref, retries, retriesText(r)))
	if v.HasStaging {
		v.Extras = append(v.Extras, b.extra("fallbacks", "Fallbacks to production", ref, fallbacks, countText(r.Fallbacks)+" in all"))
	}
	if b.fixIf(r.Release != nil) {
		v.Release = b.release(r.Release, v.Steers)
	}
	v.Changes = b.changes(changes, r.Label)
	return v
}

func (b *builder) share(v *routeView, r *Route) {
	set, configured := "as configured", percentText(r.Configured)
	if !r.SetAt.IsZero() {
		set = "set " + clockText(r.SetAt, b.now) + " by " + short(orNone(r.SetBy)) + "; configured: " + configured
	}
	v.Share = b.cell("share", "text", percentText(*r.Split))
	v.ShareValue = b.cell("share", "value", strconv.FormatFloat(*r.Split, 'f', -1, 64))
	v.SetBy = b.cell("share", "set", set)
	if v.Steers {
		v.Configured = b.cell("share", "configured", configured)
		v.IsSet = b.hidden("share", "reset", !r.SetAt.IsZero())
		v.Version = b.cell("share", "version", r.Version)
	}
}

func (b *builder) extra(p, name, ref string, kind extraKind, total string) extraView {
	recent := b.history.extraRate(ref, kind)
	return extraView{Name: b.fix(name), Value: b.cell(p, "rate", rateText(recent)), Total: b.cell(p, "total", total),
		Chart: b.chart(p, func() []float64 { return b.history.extraLine(ref, kind) }, perSecondText)}
}

func retriesText(r *Route) string {
	text := countText(r.Retries) + " in all"
	if r.OverBudget > 0 {
		text += ", " + countText(r.OverBudget) + " more were over the budget"
	}
	return text
}

func perSecondText(rate float64) string { return rateText(rate) + "/s" }

func (b *builder) group(p, ref string, g *Group, steers bool) groupView {
	n := b.history.now(ref, g.Name)
	rate, errors, class := b.rates(p, n)
	var all *lines
	line := func(of func(*lines) []float64) func() []float64 {
		return func() []float64 {
			if all == nil {
				now := b.history.lines(ref, g.Name)
				all = &now
			}
			return of(all)
		}
	}
	metric := func(name, key string, value, class cell, of func(*lines) []float64, text func(float64) string) metricView {
		return metricView{b.fix(name), value, class, b.chart(p+"."+key, line(of), text)}
	}
	v := groupView{Name: b.fix(short(g.Name)), Dynamic: b.fixIf(g.Dynamic), Health: b.groupHealth(p, g)}
	v.Metrics = append(v.Metrics,
		metric("Requests/s", "rate", rate, cell{}, func(l *lines) []float64 { return l.requests }, perSecondText),
		metric("Errors", "errors", errors, class, func(l *lines) []float64 { return l.errors }, perSecondText))
	for i, q := range quantilesShown {
		key := "p" + strconv.Itoa(int(q*100+0.5))
		value := b.cell(p, key, quantileText(&n, q))
		v.Metrics = append(v.Metrics, metric(key, key, value, cell{}, func(l *lines) []float64 { return l.quantiles[i] }, microsText))
	}
	inFlight := b.cell(p, "in_flight", countText(uint64(max(g.InFlight, 0))))
	v.Metrics = append(v.Metrics, metric("In flight", "in_flight", inFlight, cell{}, func(l *lines) []float64 { return l.inFlight }, rateText))
	for i := range g.Upstreams {
		v.Upstreams = append(v.Upstreams, b.upstream(indexed(p, "u", i), &g.Upstreams[i], steers))
	}
	return v
}

func microsText(micros float64) string {
	if micros == 0 {
		return none
	}
	return latencyText(time.Duration(micros) * time.Microsecond)
}
