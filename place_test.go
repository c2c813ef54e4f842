package proxyos

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// listed returns the routes that the admin API lists.
func (c labCaddy) listed(t *testing.T) []routeStatus {
	t.Helper()
	res, err := c.Client.Get("http://" + c.Admin + "/proxyos/routes")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var routes []routeStatus
	if err := json.Unmarshal(content, &routes); err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	return routes
}

// Without a name, a route is told apart by its site and path, in the order of the configuration,
// and explain calls it the same.
func TestRoutesWithoutANameHaveALabel(t *testing.T) {
	c := runCaddy(t, "respond ok")
	config := fmt.Sprintf(`{
	auto_https off
}
http://a.example:%[1]s {
	handle /api/* {
		proxyos 127.0.0.9:1
	}
	handle_path /deep/* {
		route {
			proxyos /x/* 127.0.0.9:2
			proxyos 127.0.0.9:3
		}
	}
	handle {
		@posts method POST
		proxyos @posts 127.0.0.9:4
		proxyos 127.0.0.9:5 {
			name shop
		}
	}
	handle_errors {
		proxyos 127.0.0.9:6
	}
}
http://b.example:%[1]s, http://c.example:%[1]s {
	proxyos 127.0.0.9:7
}
http://:%[1]s {
	proxyos 127.0.0.9:8
}
`, c.Addr[strings.LastIndex(c.Addr, ":")+1:])
	c.MustLoad(config)
	var labels []string
	for _, route := range c.listed(t) {
		labels = append(labels, route.Label)
		if (route.Name == "") != (route.Label != "shop") {
			t.Errorf("the route %q has the label %q", route.Name, route.Label)
		}
	}
	site := "a.example:" + proxytest.PortOf(t, c.Addr)
	want := []string{ // Caddy tries the longer path first
		site + "/x/*", site + "/deep/*", site + "/api/*", site, "shop",
		strings.Replace(site, "a", "b", 1) + " +1", "127.0.0.9:8", site + " (127.0.0.9:6)",
	}
	slices.Sort(labels[len(labels)-3:])
	slices.Sort(want[len(want)-3:])
	if !slices.Equal(labels, want) {
		t.Errorf("listed are %q, want %q", labels, want)
	}
	adapted, err := explainRoutes([]byte(c.adapted(t, config)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range adapted {
		if !slices.ContainsFunc(labels, func(label string) bool { return strings.HasPrefix(label, e.Label) }) {
			t.Errorf("explain calls a route %q, and the list has %q", e.Label, labels)
		}
	}
	c.Client.CloseIdleConnections() // the reload may yet end those of before
	c.Get("/")                      // which no route serves under this host
	if entries := c.Logs.Entries("request served"); len(entries) > 0 && entries[0]["route"] != "127.0.0.9:8" {
		t.Errorf("logged is the route %v", entries[0]["route"])
	}
}
