package steering

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// An alert on a staging that has had no error, or no request at all, has a value to compare with.
func TestCountersAreThereFromTheStart(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	s.MustLoad("http://" + s.Addr + " {\n" + blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 0") + "\n}\n")
	check := func(when string, want map[string]float64) {
		t.Helper()
		got := s.Metrics()
		for _, group := range []string{"production", "staging"} {
			for class := 1; class <= 5; class++ {
				series := fmt.Sprintf(`caddy_proxyos_requests_total{code="%dxx",group="%s",route="app"}`, class, group)
				if n, ok := got[series]; !ok || n != want[series] {
					t.Errorf("%s: %s is %v (%t), want %v", when, series, n, ok, want[series])
				}
			}
		}
		if n, ok := got[`caddy_proxyos_fallbacks_total{route="app"}`]; !ok || n != 0 {
			t.Errorf("%s: the fallbacks are %v (%t)", when, n, ok)
		}
		for series := range got {
			if strings.Contains(series, `code="0xx"`) {
				t.Errorf("%s: there is %s", when, series)
			}
		}
	}
	check("before any request", nil)
	s.Tally(3)
	eventually(t, "the requests are counted", func() bool {
		return s.Metrics()[`caddy_proxyos_request_duration_seconds_count{group="production",route="app"}`] == 3
	})
	check("after three", map[string]float64{`caddy_proxyos_requests_total{code="2xx",group="production",route="app"}`: 3})
}

// A dashboard whose queries name what is not there shows "no data", and nobody knows why.
func TestEveryQueryOfTheDashboardNamesWhatThereIs(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	s.MustLoad("http://" + s.Addr + " {\n" + blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10", "release") + "\n}\n")
	if status, answer := s.Ask(http.MethodPost, "/proxyos/routes/app/release", `{"action": "start", "force": true}`); status != http.StatusOK {
		t.Fatalf("starting a release: HTTP %d: %s", status, answer)
	}
	eventually(t, "a release tells of its evidence", func() bool {
		_, ok := s.Metrics()[`caddy_proxyos_release_evidence{metric="errors",route="app"}`]
		return ok
	})
	labels, values := labelsOf(t, slices.Collect(maps.Keys(s.Metrics())))

	text, err := os.ReadFile("../../examples/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	dashboard := lab.Decode[dashboard](t, string(text))
	var queries []string
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("the panel %d, %q, has no title, description, query or ID of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
			for _, name := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if by := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(target.Expr); by == nil || !slices.Contains(namesIn(by[1]), name[1]) {
					t.Errorf("%s: the legend has %s, which the query drops", target.Expr, name[0])
				}
			}
		}
	}
	for _, variable := range dashboard.Templating.List {
		if variable.Definition != "" {
			queries = append(queries, variable.Definition)
		}
	}
	asked := make(map[string]bool)
	for _, query := range queries {
		for _, problem := range problemsOf(query, labels, values) {
			t.Errorf("%s: %s", query, problem)
		}
		for name := range labels {
			if regexp.MustCompile(`\b` + name + `\b`).MatchString(query) {
				asked[name] = true
			}
		}
	}
	for name := range labels {
		if !asked[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	if t.Failed() {
		t.Logf("there are %v", labels)
	}
}

func TestTheDashboardsTestFindsMistakes(t *testing.T) {
	labels := map[string][]string{"caddy_proxyos_requests_total": {"code", "group", "route"}}
	values := map[string][]string{"code": {"5xx"}, "group": {"production", "staging"}}
	for query, want := range map[string]int{
		`sum by (route) (rate(caddy_proxyos_requests_total{group="staging",code=~"$x"}[5m])) / 2`: 0,
		`sum(caddy_proxyos_request_total)`:                         1,
		`sum by (rout) (caddy_proxyos_requests_total)`:             1,
		`caddy_proxyos_requests_total{status="5xx"}`:               1,
		`caddy_proxyos_requests_total{code="500"}`:                 1,
		`label_values(caddy_proxyos_requests_total, server)`:       1,
		`rte(caddy_proxyos_requests_total{group="blue"}[5m])`:      2,
		`sum by (route, le) (caddy_proxyos_requests_total{a="b"})`: 2,
	} {
		if problems := problemsOf(query, labels, values); len(problems) != want {
			t.Errorf("%s: found %q, want %d", query, problems, want)
		}
	}
}

// dashboard is what the test reads of Grafana's JSON.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []struct {
		ID                 int
		Title, Description string
		Targets            []struct{ Expr, LegendFormat string }
	}
}

var (
	seriesPattern  = regexp.MustCompile(`^(\w+)(?:\{(.*)\})?$`)
	labelPattern   = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	matcherPattern = regexp.MustCompile(`\{([^}]*)\}`)
	groupPattern   = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`)
	variableOf     = regexp.MustCompile(`label_values\((\w+), (\w+)\)`)
	wordPattern    = regexp.MustCompile(`[A-Za-z_]\w*`)
	rangePattern   = regexp.MustCompile(`\[[^\]]*\]`)
)

// promQL are the words of the query language that the dashboard uses.
var promQL = []string{"sum", "max", "rate", "histogram_quantile", "label_values"}

// labelsOf returns the labels of each metric, and the values of each label.
func labelsOf(t *testing.T, series []string) (labels, values map[string][]string) {
	t.Helper()
	labels, values = make(map[string][]string), make(map[string][]string)
	for _, one := range series {
		parts := seriesPattern.FindStringSubmatch(one)
		if parts == nil {
			t.Fatalf("the series %s cannot be read", one)
		}
		for _, label := range labelPattern.FindAllStringSubmatch(parts[2], -1) {
			labels[parts[1]] = append(labels[parts[1]], label[1])
			values[label[1]] = append(values[label[1]], label[3])
		}
	}
	return labels, values
}

// problemsOf says what a query names that there is not.
func problemsOf(query string, labels, values map[string][]string) (problems []string) {
	used := make(map[string]bool)
	matchers := matcherPattern.FindAllStringSubmatch(query, -1)
	groups := groupPattern.FindAllStringSubmatch(query, -1)
	rest := groupPattern.ReplaceAllString(matcherPattern.ReplaceAllString(rangePattern.ReplaceAllString(query, ""), ""), "")
	if variable := variableOf.FindStringSubmatch(rest); variable != nil {
		groups = append(groups, []string{"", variable[2]})
		rest = variable[1]
	}
	var known []string
	for _, word := range wordPattern.FindAllString(rest, -1) {
		if slices.Contains(promQL, word) {
			continue
		}
		if labels[word] == nil {
			problems = append(problems, "there is no metric or function "+word)
		}
		used[word] = true
		known = append(known, labels[word]...)
	}
	check := func(label string) {
		if len(known) > 0 && !slices.Contains(known, label) {
			problems = append(problems, fmt.Sprintf("%v has no label %s", slices.Collect(maps.Keys(used)), label))
		}
	}
	for _, group := range groups {
		for _, label := range namesIn(group[1]) {
			check(label)
		}
	}
	for _, matcher := range matchers {
		for _, label := range labelPattern.FindAllStringSubmatch(matcher[1], -1) {
			check(label[1])
			if label[2] == "=" && slices.Contains(known, label[1]) && !slices.Contains(values[label[1]], label[3]) {
				problems = append(problems, fmt.Sprintf("%s is never %q", label[1], label[3]))
			}
		}
	}
	return problems
}

func namesIn(list string) []string { return wordPattern.FindAllString(list, -1) }
