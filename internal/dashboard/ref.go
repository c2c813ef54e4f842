package dashboard

import "strconv"

// refs returns what each route is called by in links and in the history: its name, or its label if
// it has none. Where that is taken, a number follows.
func refs(routes []Route) []string {
	all, taken := make([]string, len(routes)), make(map[string]bool, len(routes))
	for i := range routes {
		if name := routes[i].Name; name != "" && !taken[name] {
			all[i], taken[name] = name, true
		}
	}
	for i := range routes {
		if all[i] != "" {
			continue
		}
		label := routes[i].Label
		all[i] = label
		for n := 2; all[i] == "" || taken[all[i]]; n++ {
			all[i] = label + " #" + strconv.Itoa(n)
		}
		taken[all[i]] = true
	}
	return all
}
