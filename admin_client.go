package proxyos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// adminClient talks to the admin API of a running Caddy.
type adminClient struct {
	address string
}

// newAdminClient finds the admin API as Caddy's own commands do.
func newAdminClient(fl caddycmd.Flags) (adminClient, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		return adminClient{}, fmt.Errorf("finding the admin address: %w", err)
	}
	return adminClient{address}, nil
}

func (c adminClient) list() (routes []routeStatus, err error) {
	return routes, c.do(http.MethodGet, "/proxyos/routes", nil, &routes)
}

func (c adminClient) instances() (records []instanceRecord, err error) {
	return records, c.do(http.MethodGet, "/proxyos/instances", nil, &records)
}

func (c adminClient) show(name string) (route routeStatus, err error) {
	return route, c.do(http.MethodGet, c.path(name), nil, &route)
}

func (c adminClient) split(name string, percent float64, by string) (route routeStatus, err error) {
	return route, c.change(http.MethodPatch, c.path(name), change{TrafficSplit: &percent, By: by}, &route)
}

func (c adminClient) reset(name string) (route routeStatus, err error) {
	return route, c.change(http.MethodDelete, c.path(name)+"/override", nil, &route)
}

// change asks for a change, and once more if another instance has made one that this one did
// not know: the last writer wins.
func (c adminClient) change(method, path string, body, answer any) error {
	err := c.do(method, path, body, answer)
	if err != nil && strings.Contains(err.Error(), fmt.Sprintf("HTTP %d:", http.StatusConflict)) {
		err = c.do(method, path, body, answer)
	}
	return err
}

func (c adminClient) path(name string) string { return "/proxyos/routes/" + url.PathEscape(name) }

func (c adminClient) do(method, path string, body, answer any) error {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return err
		}
	}
	response, err := caddycmd.AdminAPIRequest(c.address, method, path, nil, bytes.NewReader(encoded))
	if err != nil {
		return fmt.Errorf("%s %s at the admin API on %s: %w", method, path, c.address, err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("decoding the answer of the admin API on %s: %w", c.address, err)
	}
	return nil
}
