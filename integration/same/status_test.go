package same

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// counted says what has changed in the status of the route since it was called last.
func (w *sameWay) counted(s *server) []string {
	res, err := s.Client.Get("http://" + s.Admin + "/proxyos/routes/" + w.label)
	if err != nil {
		return []string{err.Error()}
	}
	defer res.Body.Close()
	var status any
	if err := json.NewDecoder(res.Body).Decode(&status); err != nil {
		return []string{err.Error()}
	}
	var lines []string
	now := make(map[string]float64)
	walkStatus("", status, func(path string, value any) {
		number, ok := value.(float64)
		switch {
		case strings.Contains(path, "certificate"), strings.Contains(path, "way"): // how it went is meant to differ
		case strings.HasSuffix(path, ".why.since"), strings.HasSuffix(path, ".why.problem"): // such as whether reading or writing met a reset
			lines = append(lines, path+" is known")
		case !ok:
			lines = append(lines, fmt.Sprint(path, " is ", value))
		case number != w.counts[path]:
			lines = append(lines, fmt.Sprintf("%s %+v", path, number-w.counts[path]))
			fallthrough
		default:
			now[path] = number
		}
	})
	w.counts = now
	slices.Sort(lines)
	return lines
}

// walkStatus visits all values in JSON.
func walkStatus(path string, value any, visit func(string, any)) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			walkStatus(path+"."+name, inner, visit)
		}
	case []any:
		for i, inner := range value {
			walkStatus(fmt.Sprint(path, ".", i), inner, visit)
		}
	default:
		visit(path, value)
	}
}
