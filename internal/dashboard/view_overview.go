package dashboard

import (
	"strconv"
	"strings"
)

// overviewView is the page of all routes.
type overviewView struct {
	Routes  []routeRow
	Changes changesView
}

// routeRow is a route in the table of all.
type routeRow struct {
	Ref, Label, Site string
	HasStaging       bool

	Share, Bar, SetBy cell
	Rate, Errors, P95 cell
	ErrorsClass       cell
	Health            []groupHealth
	Release           cell
	ReleaseClass      cell
	IsUnnamed         bool
}

// groupHealth is how many upstreams of a group are up.
type groupHealth struct {
	Group       string
	Text, Class cell
}

func (b *builder) overview(s *state) *overviewView {
	v := &overviewView{Routes: make([]routeRow, 0, len(s.refs))}
	for i, ref := range s.refs {
		v.Routes = append(v.Routes, b.routeRow(indexed("", "r", i), ref, &s.snapshot.Routes[i]))
	}
	v.Changes = b.changes(s.snapshot.Changes, "")
	return v
}

func (b *builder) routeRow(p, ref string, r *Route) routeRow {
	row := routeRow{Ref: b.fix(ref), Label: b.fix(short(r.Label)), Site: b.fix(short(r.Site)),
		HasStaging: b.fixIf(r.Split != nil), IsUnnamed: b.fixIf(r.Name == "")}
	if row.HasStaging {
		row.Share = b.cell(p, "share", percentText(*r.Split))
		row.Bar = b.cell(p, "bar", strconv.FormatFloat(*r.Split, 'f', -1, 64))
		set := ""
		if !r.SetAt.IsZero() {
			set = "set by " + short(orNone(r.SetBy))
		}
		row.SetBy = b.cell(p, "set", set)
	}
	var all numbers
	for k := range r.Groups {
		g := &r.Groups[k]
		all = all.and(b.history.now(ref, g.Name))
		row.Health = append(row.Health, b.groupHealth(indexed(p, "g", k), g))
	}
	row.Rate, row.Errors, row.ErrorsClass = b.rates(p, all)
	row.P95 = b.cell(p, "p95", quantileText(&all, 0.95))
	text, class := "", plain
	if r.Release != nil {
		text, class = releaseShort(r.Release)
	}
	row.Release, row.ReleaseClass = b.cell(p, "release", orNone(text)), b.cell(p, "release.class", class)
	return row
}

// manyErrors is the percentage of errors from which on somebody should look at once.
const manyErrors = 1

// rates makes the cells of requests per second and of the share of errors.
func (b *builder) rates(p string, n numbers) (rate, errors, class cell) {
	rateValue, errorValue, color := none, none, plain
	if value, ok := n.rate(); ok {
		rateValue = rateText(value)
	}
	if value, ok := n.errorShare(); ok {
		errorValue = shareText(value)
		switch {
		case value >= manyErrors:
			color = bad
		case value > 0:
			color = warn
		}
	}
	return b.cell(p, "rate", rateValue), b.cell(p, "errors", errorValue), b.cell(p, "errors.class", color)
}

func quantileText(n *numbers, q float64) string {
	d, ok := n.durations.quantile(q)
	if !ok {
		return none
	}
	return latencyText(d)
}

// The classes that cells may have. The script knows the same.
const (
	plain = "plain"
	good  = "good"
	warn  = "warn"
	bad   = "bad"
	off   = "off"
)

// groupHealth counts the upstreams that are up. One that is on trial may still be down, and one that
// is listed again is not counted again.
func (b *builder) groupHealth(p string, g *Group) groupHealth {
	var all, up, drained, full int
	for i := range g.Upstreams {
		u := &g.Upstreams[i]
		switch {
		case u.Repeated:
		case u.Drained:
			drained++
		case u.Health == "full":
			full++
			fallthrough
		default:
			if all++; u.Health == "up" {
				up++
			}
		}
	}
	var parts []string
	class := warn
	switch {
	case all > 0:
		parts = append(parts, strconv.Itoa(up)+" of "+strconv.Itoa(all)+" up")
		if up == all {
			class = good
		} else if up == 0 {
			class = bad
		}
	case drained == 0 && g.Dynamic:
		parts, class = append(parts, "dynamic"), plain
	case drained == 0:
		parts = append(parts, "no upstreams")
	}
	if full > 0 {
		parts = append(parts, strconv.Itoa(full)+" full")
	}
	if drained > 0 {
		parts = append(parts, strconv.Itoa(drained)+" drained")
	}
	return groupHealth{Group: b.fix(short(g.Name)), Text: b.cell(p, "health", strings.Join(parts, ", ")), Class: b.cell(p, "health.class", class)}
}
