package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// route is what the admin API tells of a route.
type route struct {
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
	production = 0
	staging    = 1
)

// blueGreen runs a route named app with one production and one staging backend, whose names
// are those of their groups, and any further subdirectives.
func blueGreen(t testing.TB, subdirectives ...string) (s *server, prod, stag *backend) {
	t.Helper()
	prod, stag = plain(t, "production", ""), plain(t, "staging", "")
	s = newServer(t)
	s.MustLoad(s.blueGreen(prod, stag, subdirectives...))
	return s, prod, stag
}

// blueGreen returns the Caddyfile of such a route.
func (s *server) blueGreen(prod, stag *backend, subdirectives ...string) string {
	return quiet + s.Site(blueGreenDirective(prod.Addr, stag.Addr, subdirectives...))
}

func blueGreenDirective(prod, stag string, subdirectives ...string) string {
	return fmt.Sprintf("proxyos %s {\n\tname app\n\tstaging %s\n\t%s\n}", prod, stag, strings.Join(subdirectives, "\n\t"))
}

// quiet is global options for tests under load, whose debug log would fill the memory.
const quiet = "{\n\tlog {\n\t\tlevel INFO\n\t}\n\tproxyos {\n\t\tsync_interval 500ms\n\t}\n}\n"

// reload loads a config in place of another and waits until new connections are the new
// one's. As it begins to shut down, Go's HTTP server closes those that it has accepted and
// not read from.
func (s *server) reload(config string) {
	s.t.Helper()
	s.MustLoad(config)
	s.Client.CloseIdleConnections()
	answered := 0
	eventually(s.t, "new connections are answered", func() bool {
		if answered++; !s.answers() {
			answered = 0
		}
		return answered == 5
	})
}

// answers tells whether a request on a new connection is answered. It is for a host that no
// route has, so that none counts it.
func (s *server) answers() bool {
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: nobody.invalid\r\n\r\n"); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return err == nil
}

// ask sends a request to the admin API.
func (s *server) ask(method, path, body string) (status int, answer string) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Admin+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.Client.Do(req)
	if err != nil && method == http.MethodGet {
		res, err = s.Client.Do(req) // the admin server, too, is another one after a reload
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(content)
}

// split sets the split of the route app and returns when that is acknowledged.
func (s *server) split(percent float64) {
	s.t.Helper()
	if status, answer := s.ask(http.MethodPatch, "/proxyos/routes/app", fmt.Sprintf(`{"traffic_split": %v}`, percent)); status != http.StatusOK {
		s.t.Fatalf("setting the split to %v %%: %d %s", percent, status, answer)
	}
}

// route returns the route app as the admin API shows it.
func (s *server) route() route { return s.named("app") }

// named is what the admin API tells of a route.
func (s *server) named(name string) route {
	s.t.Helper()
	status, answer := s.ask(http.MethodGet, "/proxyos/routes/"+name, "")
	if status != http.StatusOK {
		s.t.Fatalf("showing the route: %d %s", status, answer)
	}
	return decode[route](s.t, answer)
}

func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// metrics returns Caddy's metrics of proxyos, by name and labels.
func (s *server) metrics() map[string]float64 {
	s.t.Helper()
	status, text := s.ask(http.MethodGet, "/metrics", "")
	if status != http.StatusOK {
		s.t.Fatalf("metrics: %d", status)
	}
	values := make(map[string]float64)
	for line := range strings.Lines(text) {
		series, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(series, "caddy_proxyos_") {
			values[series] = decode[float64](s.t, number)
		}
	}
	return values
}
