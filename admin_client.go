package proxyos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// adminClient talks to the admin API of a running Caddy.
type adminClient struct {
	ctx     context.Context
	address string
}

// newAdminClient finds the admin API as Caddy's own commands do.
func newAdminClient(ctx context.Context, o *steerOptions) (adminClient, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(o.address, nil, o.config, o.adapter)
	if err != nil {
		return adminClient{}, fmt.Errorf("finding the admin address: %w", err)
	}
	if parsed, err := caddy.ParseNetworkAddress(address); err != nil || parsed.PortRangeSize() > 1 || strings.Contains(address, "://") {
		return adminClient{}, usageErrorf("%q is not the address of an admin API; write one such as localhost:2019", address)
	}
	return adminClient{ctx, address}, nil
}

// adminError is an error that the admin API answered.
type adminError struct {
	status int
	text   string
}

func (e *adminError) Error() string { return e.text }

func (c adminClient) list() (routes []routeStatus, err error) {
	return routes, c.do(http.MethodGet, "/proxyos/routes", nil, &routes)
}

func (c adminClient) instances() (records []instanceRecord, err error) {
	return records, c.do(http.MethodGet, "/proxyos/instances", nil, &records)
}

func (c adminClient) show(name string) (route routeStatus, err error) {
	return route, c.ofRoute(name, c.do(http.MethodGet, c.path(name), nil, &route))
}

func (c adminClient) split(name string, percent float64, force bool) (route routeStatus, err error) {
	body := change{TrafficSplit: &percent, By: operator(), Force: force}
	return route, c.ofRoute(name, c.change(http.MethodPatch, c.path(name), body, &route))
}

func (c adminClient) reset(name string) (route routeStatus, err error) {
	return route, c.ofRoute(name, c.change(http.MethodDelete, c.path(name)+"/override", nil, &route))
}

// change asks for a change, and once more if another instance has made one that this one did
// not know: the last writer wins.
func (c adminClient) change(method, path string, body, answer any) error {
	err := c.do(method, path, body, answer)
	rejected, ok := errors.AsType[*adminError](err)
	if ok && rejected.status == http.StatusConflict && !strings.Contains(rejected.text, forceByCommand) {
		err = c.do(method, path, body, answer)
	}
	return err
}

// ofRoute says in the words of the commands that there is no route of that name.
func (c adminClient) ofRoute(name string, err error) error {
	if rejected, ok := errors.AsType[*adminError](err); !ok || rejected.status != http.StatusNotFound {
		return err
	}
	routes, listErr := c.list()
	if listErr != nil {
		return err // there is none at all
	}
	advice := "`caddy proxyos list` shows those that there are"
	if near := nearest(name, namesOf(routes)); near != "" {
		advice = "did you mean " + near + "?"
	}
	label := strings.TrimSuffix(strings.TrimPrefix(name, "("), ")")
	if slices.ContainsFunc(routes, func(r routeStatus) bool { return r.Name == "" && r.Label == label }) {
		return fmt.Errorf("the route %q has no name, and cannot be steered without one; add `name <name>` to it", label)
	}
	return fmt.Errorf("there is no proxyos route named %q; %s", name, advice)
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
	status, content, err := c.send(method, path, encoded)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("you may not use the admin API's address %s: %w; run the command as its owner, such as with `sudo -u caddy`", c.address, err)
	}
	if err != nil {
		return fmt.Errorf("nothing answers at the admin API's address %s: %w; is Caddy running? `--address` or `--config` says where", c.address, err)
	}
	if status >= http.StatusBadRequest {
		return c.rejection(status, content)
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return fmt.Errorf("what answers on %s is not Caddy's admin API; `--address` or `--config` says where that is", c.address)
	}
	return nil
}

// rejection returns the error in an answer of the admin API.
func (c adminClient) rejection(status int, content []byte) error {
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(content, &answer); err == nil && answer.Error != "" {
		return &adminError{status, strings.Replace(answer.Error, forceInAPI, forceByCommand, 1)}
	}
	if status == http.StatusNotFound {
		return fmt.Errorf("what answers on %s knows no proxyos: it is a Caddy without this module, or no Caddy; `--address` or `--config` says where the right one is", c.address)
	}
	return fmt.Errorf("what answers on %s is not Caddy's admin API: it answers with HTTP %d; `--address` or `--config` says where that is", c.address, status)
}

// maxAdminAnswer is how much of an answer is read.
const maxAdminAnswer = 64 << 20

// send sends a request to the admin API, over TCP or a Unix socket.
func (c adminClient) send(method, path string, body []byte) (status int, content []byte, err error) {
	network, err := caddy.ParseNetworkAddress(c.address)
	if err != nil {
		return 0, nil, err
	}
	where, origin := network.JoinHostPort(0), "http://"+network.JoinHostPort(0)
	if network.IsUnixNetwork() {
		where, _, _ = strings.Cut(where, "|") // the permissions of the socket
		origin = "http://127.0.0.1"
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network.Network, where)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(c.ctx, method, origin+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if !network.IsUnixNetwork() {
		req.Header.Set("Origin", origin)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	content, err = io.ReadAll(io.LimitReader(res.Body, maxAdminAnswer))
	return res.StatusCode, content, err
}
