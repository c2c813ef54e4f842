package dashboard

// changesView is a table of what was changed. It has rows to spare, so that the page keeps its
// structure when something is changed.
type changesView struct {
	Rows []changeRow
	None cell // hides "nothing yet"
}

// changeRow is one change.
type changeRow struct {
	Hidden                             cell
	At, Route, What, From, To, By, How cell
}

const (
	mostChanges        = 50
	mostChangesOfRoute = 10
	rowsAtOnce         = 5 // that are added
)

// changes makes the table of the changes of a route, or of all.
func (b *builder) changes(all []Change, route string) changesView {
	var shown []*Change
	most := mostChanges
	if route != "" {
		most = mostChangesOfRoute
	}
	for i := range all {
		if len(shown) < most && (route == "" || all[i].Route == route) {
			shown = append(shown, &all[i])
		}
	}
	rows := max((len(shown)+rowsAtOnce-1)/rowsAtOnce, 1) * rowsAtOnce
	v := changesView{None: b.hidden("", "changes.none", len(shown) == 0)}
	for i := range rows {
		c := new(Change)
		if i < len(shown) {
			c = shown[i]
		}
		v.Rows = append(v.Rows, b.changeRow(indexed("", "c", i), c, i < len(shown)))
	}
	return v
}

func (b *builder) changeRow(p string, c *Change, isSeen bool) changeRow {
	how := "by hand"
	if c.Cause != "" {
		how = short(c.Cause)
	}
	return changeRow{
		Hidden: b.hidden(p, "hidden", isSeen),
		At:     b.cell(p, "at", clockText(c.At, b.now)),
		Route:  b.cell(p, "route", short(c.Route)),
		What:   b.cell(p, "what", short(c.What)),
		From:   b.cell(p, "from", orNone(short(c.From))),
		To:     b.cell(p, "to", orNone(short(c.To))),
		By:     b.cell(p, "by", orNone(short(c.By))),
		How:    b.cell(p, "how", how),
	}
}
