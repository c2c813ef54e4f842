package proxyos

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// configuredRoute is a proxyos handler found in a configuration.
type configuredRoute struct {
	place
	handler json.RawMessage
}

// routeExplanation explains one route.
type routeExplanation struct {
	Name      string                `json:"name,omitempty"`
	Label     string                `json:"label"` // the name, or what stands for it
	Server    string                `json:"server"`
	Hosts     []string              `json:"hosts,omitempty"`
	Split     float64               `json:"traffic_split"`
	Way       string                `json:"way,omitempty"`      // of plain requests: short or reverse_proxy
	KeptOff   []string              `json:"kept_off,omitempty"` // the short way, by these
	Release   *releaseExplanation   `json:"release,omitempty"`
	Upstreams []upstreamExplanation `json:"upstreams,omitempty"`
	Warnings  []string              `json:"warnings,omitempty"`
	Notes     []string              `json:"notes,omitempty"`
	Error     string                `json:"error,omitempty"`
}

// upstreamExplanation explains one upstream of a route.
type upstreamExplanation struct {
	Group string `json:"group"`
	explanation
	Weight int  `json:"weight"`
	Backup bool `json:"backup,omitempty"`

	OffLane string `json:"off_lane,omitempty"` // what keeps it off the fast lane

	speaks      string // for the table
	certificate string // for the table
}

// weight is the weight as it is printed.
func (u upstreamExplanation) weight() string {
	if u.Backup {
		return strconv.Itoa(u.Weight) + ", backup"
	}
	return strconv.Itoa(u.Weight)
}

// explainConfig is `explain` for a configuration.
func explainConfig(w io.Writer, path, adapter string, asJSON bool) error {
	explaining.Store(true)
	config, _, _, err := caddycmd.LoadConfig(path, adapter)
	explaining.Store(false)
	if err != nil {
		return err
	}
	all, err := explainRoutes(config)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if asJSON {
		if err := printJSON(w, all); err != nil {
			return err
		}
	} else {
		for i, route := range all {
			if i > 0 {
				fmt.Fprintln(w)
			}
			route.print(w)
		}
		if len(all) == 0 {
			fmt.Fprintln(w, printable.Escape(path)+" has no proxyos route.")
		}
	}
	if slices.ContainsFunc(all, func(r routeExplanation) bool { return r.Error != "" }) {
		return errFailed
	}
	return nil
}

// explainRoutes explains the routes of a configuration in JSON.
func explainRoutes(config []byte) ([]routeExplanation, error) {
	var decoded struct {
		Apps struct {
			HTTP struct {
				Servers map[string]any `json:"servers"`
			} `json:"http"`
			Proxyos *App `json:"proxyos"`
		} `json:"apps"`
	}
	decoder := json.NewDecoder(bytes.NewReader(caddy.RemoveMetaFields(config)))
	decoder.UseNumber()
	if err := decoder.Decode(&decoded); err != nil {
		return nil, err
	}
	defaults := decoded.Apps.Proxyos.forRoutes()
	all := []routeExplanation{}
	taken := make(names)
	for _, server := range slices.SortedFunc(maps.Keys(decoded.Apps.HTTP.Servers), compareServers) {
		var routes []configuredRoute
		piece := decoded.Apps.HTTP.Servers[server]
		findRoutes(piece, configuredRoute{place: place{server: server, port: toldPort(listenersOf(piece))}}, &routes)
		for _, route := range routes {
			all = append(all, explainRoute(route, defaults, taken))
		}
	}
	return all, nil
}

// findRoutes finds the proxyos handlers inside a piece of a configuration.
func findRoutes(piece any, around configuredRoute, found *[]configuredRoute) {
	switch piece := piece.(type) {
	case []any:
		for _, inner := range piece {
			findRoutes(inner, around, found)
		}
	case map[string]any:
		around.narrow(matched(piece["match"], "host"), matched(piece["match"], "path"))
		if piece["handler"] == "proxyos" {
			fields := maps.Clone(piece)
			delete(fields, "handler")
			around.handler = encode(fields)
			*found = append(*found, around)
		}
		for _, key := range slices.Sorted(maps.Keys(piece)) {
			findRoutes(piece[key], around, found)
		}
	}
}

// listenersOf returns the addresses that a server listens at.
func listenersOf(server any) []string {
	fields, _ := server.(map[string]any)
	return texts(fields["listen"])
}

func texts(list any) []string {
	var all []string
	values, _ := list.([]any)
	for _, value := range values {
		all = append(all, fmt.Sprint(value))
	}
	return all
}

// matched returns what a route's matchers of a name match.
func matched(matchers any, name string) []string {
	var all []string
	sets, _ := matchers.([]any)
	for _, set := range sets {
		fields, _ := set.(map[string]any)
		all = append(all, texts(fields[name])...)
	}
	return all
}

// explainRoute explains a route by the plan that loading makes of its handler. It loads no
// modules.
func explainRoute(found configuredRoute, defaults routeDefaults, taken names) routeExplanation {
	e := routeExplanation{Server: found.server, Hosts: found.hosts}
	e.Label = found.label("of unknown upstreams")
	h := new(Handler)
	if err := json.Unmarshal(found.handler, h); err != nil {
		e.Error = err.Error()
		return e
	}
	p, err := newPlan(h, defaults)
	e.describe(p)
	e.Label = cmp.Or(p.name, found.label(p.firstAddress()))
	if err == nil {
		e.describeWay(p)
		e.describeRelease(p)
	}
	if err == nil && p.name != "" {
		_, err = taken.claim(p.name, h, holder{&found.place, p.firstAddress()})
	}
	if err != nil {
		e.Error = err.Error()
	}
	return e
}

// describe adds what a plan has, even if incomplete, and warns of what looks wrong.
func (e *routeExplanation) describe(p *plan) {
	e.Name, e.Split = p.name, p.percent
	for _, g := range p.groups() {
		for _, b := range g.backends {
			e.Upstreams = append(e.Upstreams, upstreamExplanation{
				Group: g.name, explanation: b.explain(), Weight: b.weight, Backup: b.backup,
				speaks: b.scheme + " (" + briefly[b.schemeReason] + ")", certificate: b.certificateCheck(),
			})
		}
	}
	e.Warnings, e.Notes = p.lint(), p.notes()
}

// The ways of plain requests.
const (
	wayShort        = "short"
	wayReverseProxy = "reverse_proxy"
)

// describeWay adds which way plain requests take, and why.
func (e *routeExplanation) describeWay(p *plan) {
	e.Way, e.KeptOff = wayShort, p.keptOff
	if len(e.KeptOff) > 0 {
		e.Way = wayReverseProxy
	}
	upstreams := e.Upstreams
	for _, g := range p.groups() {
		for i := range g.backends {
			upstreams[i].OffLane = cmp.Or(g.offLane(i), p.slowBy)
		}
		upstreams = upstreams[len(g.backends):]
	}
}

// offLane says what keeps the group's backend of that index off the fast lane.
func (g *groupPlan) offLane(i int) string {
	if i >= len(g.lanes) {
		return "the route's transport is not `http`"
	}
	return offLane(g.lanes[i].backend, g.lanes[i].config)
}

// offLanes says which upstreams are kept off the fast lane, and why: a line for each reason that does not
// keep all requests off the short way, too.
func (e *routeExplanation) offLanes() (lines []string) {
	addresses := make(map[string][]string)
	for _, u := range e.Upstreams {
		if u.OffLane != "" && !slices.Contains(e.KeptOff, u.OffLane) {
			addresses[u.OffLane] = append(addresses[u.OffLane], u.Address)
		}
	}
	for _, why := range slices.Sorted(maps.Keys(addresses)) {
		named := addresses[why]
		if more := len(named) - maxNamed; more > 0 {
			named = append(named[:maxNamed:maxNamed], fmt.Sprintf("%d more", more))
		}
		lines = append(lines, strings.Join(named, ", ")+": "+why)
	}
	return lines
}

// certificateCheck says in a few words whether the certificate is checked, and why.
func (b backend) certificateCheck() string {
	switch {
	case b.scheme != address.HTTPS:
		return "-"
	case len(b.pins) > 0:
		return "pinned"
	case b.verify:
		return "checked (" + briefly[b.verifyReason] + ")"
	}
	return "not checked (" + briefly[b.verifyReason] + ")"
}

// briefly has a word for each reason, for a table.
var briefly = map[reason]string{
	becauseWritten:    "written",
	becauseDetected:   "port",
	becausePlain:      "default",
	becauseSocket:     "socket",
	becauseTransport:  "transport",
	becauseException:  "tls_except_ports",
	becauseOfUpstream: "upstream",
	becauseOfGroup:    "group",
	becauseOfRoute:    "route",
	becauseOfTrust:    "TLS options",
	becauseDefault:    "default",
}

// print prints the route as a table, and the warnings below it.
func (e routeExplanation) print(w io.Writer) {
	fmt.Fprintln(w, wrapped("", e.title()))
	rows := [][]string{{"GROUP", "ADDRESS", "SPEAKS", "CERTIFICATE", "WEIGHT"}}
	for _, u := range e.Upstreams {
		rows = append(rows, []string{u.Group, u.Address, u.speaks, u.certificate, u.weight()})
	}
	switch {
	case len(rows) == 1:
	case tableWidth("  ", rows) <= lineWidth:
		table(w, "  ", rows, nil)
	default:
		for _, u := range e.Upstreams {
			group := fmt.Sprintf("  %-12s", u.Group)
			fmt.Fprintln(w, printable.Escape(group+u.Address))
			meaning := u.speaks + ", weight " + u.weight()
			if u.certificate != "-" {
				meaning += ", certificate " + u.certificate
			}
			fmt.Fprintln(w, printable.Escape(strings.Repeat(" ", len(group))+meaning))
		}
	}
	if e.Release != nil {
		e.Release.print(w)
	}
	for _, note := range e.Notes {
		fmt.Fprintln(w, wrapped("  note: ", note))
	}
	switch e.Way {
	case wayShort:
		fmt.Fprintln(w, wrapped("  way: ", "plain requests take the short one"))
	case wayReverseProxy:
		fmt.Fprintln(w, wrapped("  way: ", "all requests go through reverse_proxy: "+strings.Join(e.KeptOff, "; ")))
	}
	for _, line := range e.offLanes() {
		fmt.Fprintln(w, wrapped("  off the fast lane: ", line))
	}
	for _, warning := range e.Warnings {
		fmt.Fprintln(w, wrapped("  warning: ", warning))
	}
	if e.Error != "" {
		fmt.Fprintln(w, wrapped("  error: ", e.Error))
	}
}

// title names the route and says where it is.
func (e routeExplanation) title() string {
	title := "route " + e.Label
	where := append([]string{"server " + e.Server}, e.Hosts...)
	if e.Name == "" {
		where = append([]string{"without a name"}, where...)
	}
	title += " (" + strings.Join(where, ", ") + ")"
	if e.Split > 0 {
		title += fmt.Sprintf(", %v %% to staging", e.Split)
	}
	return title
}
