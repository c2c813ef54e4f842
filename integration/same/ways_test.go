package same

import (
	"encoding/json"
	"net/http"
)

// ways counts the requests of a route by the way that they took.
type ways struct {
	Short        uint64 `json:"short"`
	ReverseProxy uint64 `json:"reverse_proxy"`
}

// waysOf returns the ways of a route's requests so far.
func waysOf(s *server, name string) ways {
	s.T.Helper()
	status, text := s.Ask(http.MethodGet, "/proxyos/routes/"+name, "")
	var route struct{ Ways *ways }
	if err := json.Unmarshal([]byte(text), &route); err != nil || status != http.StatusOK || route.Ways == nil {
		s.T.Fatalf("status %d: %s (%v)", status, text, err)
	}
	return *route.Ways
}
