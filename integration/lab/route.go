package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Route is what the admin API tells of a route.
type Route struct {
	Name            string  `json:"name"`
	TrafficSplit    float64 `json:"traffic_split"`
	ConfiguredSplit float64 `json:"configured_traffic_split"`
	Override        *struct {
		TrafficSplit float64   `json:"traffic_split"`
		SetAt        time.Time `json:"set_at"`
		SetBy        string    `json:"set_by"`
	} `json:"override"`
	Fallbacks uint64 `json:"fallbacks"`
	Groups    []struct {
		Name      string `json:"name"`
		Dynamic   bool   `json:"dynamic"`
		Requests  uint64 `json:"requests"`
		Errors    uint64 `json:"errors"`
		InFlight  int64  `json:"in_flight"`
		Upstreams []struct {
			Address   string `json:"address"`
			Dial      string `json:"dial"`
			Scheme    string `json:"scheme"`
			TLSVerify *bool  `json:"tls_verify"`
			Weight    int    `json:"weight"`
			Health    string `json:"health"`
			Drained   bool   `json:"drained"`
			InFlight  int    `json:"in_flight"`
			Requests  uint64 `json:"requests"`
			Errors    uint64 `json:"errors"`
		} `json:"upstreams"`
	} `json:"groups"`
}

// The groups of a route, as indices.
const (
	Production = 0
	Staging    = 1
)

// Ask sends a request to the admin API.
func (s *Server) Ask(method, path, body string) (status int, answer string) {
	s.T.Helper()
	req, err := http.NewRequest(method, "http://"+s.Admin+path, strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.Client.Do(req)
	if err != nil && method == http.MethodGet {
		res, err = s.Client.Do(req) // the admin server, too, is another one after a reload
	}
	if err != nil {
		s.T.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return res.StatusCode, string(content)
}

// Named is what the admin API tells of a route.
func (s *Server) Named(name string) Route {
	s.T.Helper()
	status, answer := s.Ask(http.MethodGet, "/proxyos/routes/"+name, "")
	if status != http.StatusOK {
		s.T.Fatalf("showing the route: %d %s", status, answer)
	}
	return Decode[Route](s.T, answer)
}

// Route returns the route app as the admin API shows it.
func (s *Server) Route() Route { return s.Named("app") }

// Split sets the split of the route app and returns when that is acknowledged.
func (s *Server) Split(percent float64) {
	s.T.Helper()
	if status, answer := s.Ask(http.MethodPatch, "/proxyos/routes/app", fmt.Sprintf(`{"traffic_split": %v}`, percent)); status != http.StatusOK {
		s.T.Fatalf("setting the split to %v %%: %d %s", percent, status, answer)
	}
}

// Steer sets the state or the weight of an upstream of the route app, such as with
// {"state": "drain"}, and returns when that is acknowledged.
func (s *Server) Steer(b *proxytest.Backend, body string) {
	s.T.Helper()
	if status, answer := s.Ask(http.MethodPatch, "/proxyos/routes/app/upstreams/"+b.Addr, body); status != http.StatusOK {
		s.T.Fatalf("setting %s for %s: %d %s", body, b.Name, status, answer)
	}
}

// Healths returns the health of each upstream of the route, in the order of the config.
func (s *Server) Healths() (all []string) {
	for _, g := range s.Route().Groups {
		for _, u := range g.Upstreams {
			all = append(all, u.Health)
		}
	}
	return all
}

// Metrics returns Caddy's metrics of proxyos, by name and labels.
func (s *Server) Metrics() map[string]float64 {
	s.T.Helper()
	status, text := s.Ask(http.MethodGet, "/metrics", "")
	if status != http.StatusOK {
		s.T.Fatalf("metrics: %d", status)
	}
	values := make(map[string]float64)
	for line := range strings.Lines(text) {
		series, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(series, "caddy_proxyos_") {
			values[series] = Decode[float64](s.T, number)
		}
	}
	return values
}

// Decode returns the value of some JSON.
func Decode[T any](t testing.TB, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}
